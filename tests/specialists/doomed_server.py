"""A server that claims a task as a client would, runs a plan beside it, says so, and waits to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from vespera_agents.specialists import Call, Orchestrator, PlanRun, RunEvent, RunOptions, open_runtime
from vespera_agents.store import CommandKey
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.work.plans import read_plan

PLAN = """---
id: DOOMED
---
## Phase 1: Only
### long
```yaml
run: "echo $$ > pid; echo begun; sleep 300 & wait"
shell: true
```
"""


async def main(home: Path) -> None:
    async with open_runtime("serve") as runtime, trio.open_nursery() as nursery:
        opened = await runtime.workspace(home)
        orchestrator = Orchestrator(runtime, home)
        session = await orchestrator.sessions.initialize(Call("mcp:doomed", CommandKey("doomed", "1")), None, "claims")
        drafts = [TaskDraft(key="claimed", title="claimed"), TaskDraft(key="free", title="free")]
        planned = await orchestrator.tasks.plan(Call("mcp:doomed", CommandKey("doomed", "2")), drafts, session.id)
        await orchestrator.work.execute(Call("mcp:doomed", CommandKey("doomed", "3")), planned.tasks[0].id)
        begun = trio.Event()

        def hear(event: RunEvent) -> None:
            if event.kind == "line":
                begun.set()

        nursery.start_soon(PlanRun(opened, hear).run, read_plan(PLAN, name="plan.md"), RunOptions())
        await begun.wait()
        print(session.id, planned.tasks[0].id, opened.record.id, flush=True)
        await trio.sleep_forever()


trio.run(main, Path(sys.argv[1]))
