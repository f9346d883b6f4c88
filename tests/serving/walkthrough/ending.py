"""The second half of the story: after the crash.

Not a test. Neighbours: `story` begins it and has the stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.serving.walkthrough.players import Person

if TYPE_CHECKING:
    from tests.serving.walkthrough.story import Stage


async def the_others_go_on(stage: Stage) -> None:
    """Tell what Ines sees after the crash."""
    write = stage.transcript
    write.say("Ines's server finds the dead one by its lock and gives back what it had claimed.")
    await stage.ines.call("get_status")
    assert stage.place.status("Choose among themes") == "pending"
    await stage.ines.call("execute_task", task_id=stage.ids["themes"], show=2)
    await stage.ines.call(
        "complete_task", task_id=stage.ids["themes"], summary="One theme: plain.", next_action="complete"
    )


async def the_work_is_brought_to_its_end(stage: Stage, bea: Person) -> None:
    """Tell how somebody new takes over and ends it."""
    write = stage.transcript
    write.heading("Somebody else goes on")
    write.say("Bea comes new, with a client that speaks the older protocol (a handshake, 2025-11-25).")
    await bea.call("resume_session", context_tokens_max=4_000)
    write.say("One task is left.")
    await bea.call("execute_task", task_id=stage.ids["announce"], show=3)
    await bea.call(
        "complete_task",
        task_id=stage.ids["announce"],
        summary="Tally counts lines, too.",
        next_action="complete",
    )
    write.heading("The results")
    answer = await bea.call("synthesize_results")
    await bea.read(answer["artifact"], show=40)
    write.heading("Leaving it tidy")
    await bea.call("maintenance_coordinator", action="validate_structure", validation_level="full")
    await bea.call("maintenance_coordinator", action="scan_cleanup")
    handed = await bea.call("maintenance_coordinator", action="prepare_handover")
    await bea.read(handed["uris"][0], show=30)
    await bea.call("cleanup_sessions", which="completed")
    await bea.call("cleanup_sessions", which="completed", dry_run=False)
    # A machine that is busy with other things just then has a late loop, and says so.
    await bea.call("health_check", until=lambda answer: answer["status"] == "healthy")


async def the_commands_show_it(stage: Stage) -> None:
    """Tell what our own commands show of it."""
    write = stage.transcript
    write.heading("The same from a shell")
    await stage.shell.vespera("call", "list_sessions")
    await stage.shell.vespera("status")
    # As with health_check.
    await stage.shell.vespera("tree", until=lambda text: "grade=healthy" in text)
    await stage.shell.vespera("artifact", stage.digests["design"][:12])
