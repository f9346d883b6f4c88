"""One specialist asks another: answered once, asked again only after a crash, never later than its deadline."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from vespera_agents.providers.errors import Unavailable
from vespera_agents.providers.exchange import Completion, Finish, ModelRequest, Need, ToolCall, Usage
from vespera_agents.specialists.callbacks.hearing import Happening
from vespera_agents.specialists.help import AskForHelp, request_of
from vespera_agents.specialists.help_desk import HelpDesk, HelpTools
from vespera_agents.specialists.roles import load_roles
from vespera_agents.store import CommandKey
from vespera_agents.store.callbacks import callbacks
from vespera_agents.store.commands.callbacks import RegisterTargets
from vespera_agents.store.outbox import CallbackEvent, CallbackStatus
from vespera_agents.work.errors import InvalidInput

KEY = CommandKey("step", "task_1/1/3")
QUESTION = AskForHelp("architect", "Which of two?", 20.0)


class Oracle:
    """Answers every request with a text, when it is let to; counts what it was asked."""

    def __init__(self, text: str = "The first.", *, hangs: bool = False, fails: bool = False) -> None:
        self.text = text
        self.hangs = hangs
        self.fails = fails
        self.asked: list[tuple[ModelRequest, Need]] = []
        self.reached = trio.Event()

    async def complete(self, request: ModelRequest, need: Need) -> Completion:
        self.asked.append((request, need))
        self.reached.set()
        if self.hangs:
            await trio.sleep_forever()
        if self.fails:
            raise Unavailable("oracle", "it is away", "Try again")
        return Completion("oracle", "delphi", self.text, Finish.END, Usage(10, 5))


async def events(h, session: str) -> list[str]:
    found = h.opened.store.read(
        lambda connection: [
            row[0]
            for row in connection.execute(
                "SELECT what FROM event WHERE session_id=? AND what LIKE 'help%' ORDER BY seq", (session,)
            )
        ]
    )
    return await found


async def test_a_specialist_of_the_role_answers_and_sees_nothing_but_the_question(house, draft) -> None:
    oracle = Oracle()
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a", description="CANARY of the task"))
        answer = await HelpDesk(h.opened, session, oracle).ask(QUESTION, KEY, asker="tester", task_id=ids["a"])
        assert (answer.answered, answer.text, answer.role, answer.asked) == (True, "The first.", "architect", 1)
        ((request, need),) = oracle.asked
        assert "CANARY" not in request.system + request.messages[0].text
        assert request.messages[0].text == "Which of two?"
        assert load_roles()["architect"].role_definition in request.system
        assert (need.role, need.session_id, need.task_id, request.tools) == ("architect", session, ids["a"], ())
        live = await h.opened.session(session)
        assert [name.split("-")[0] for name, _ in live.running_specialists()] == ["architect"]
        assert await events(h, session) == ["help_asked", "help_answered"]


async def test_asked_again_under_the_same_key_the_first_answer_is_given(house) -> None:
    oracle = Oracle()
    async with house() as h:
        desk = HelpDesk(h.opened, await h.begin(), oracle)
        first = await desk.ask(QUESTION, KEY, asker="tester")
        oracle.text = "Another."
        assert await desk.ask(QUESTION, KEY, asker="tester") == first
        assert len(oracle.asked) == 1
        assert (desk.statistics().asked, desk.statistics().repeated) == (1, 0)


async def test_one_that_a_kill_left_open_is_asked_once_more_and_that_is_counted(house) -> None:
    oracle = Oracle(hangs=True)
    async with house() as h:
        session = await h.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(HelpDesk(h.opened, session, oracle).ask, QUESTION, KEY, asker="tester"))
            await oracle.reached.wait()
            nursery.cancel_scope.cancel()
        oracle.hangs = False
    async with house() as h:
        desk = HelpDesk(h.opened, session, oracle)
        answer = await desk.ask(QUESTION, KEY, asker="tester")
        assert (answer.text, answer.asked, desk.statistics().repeated) == ("The first.", 2, 1)
        # One purpose: it is reserved and charged once under it.
        assert {need.purpose for _, need in oracle.asked} == {"help/step/task_1/1/3"}
        assert await events(h, session) == ["help_asked", "help_repeated", "help_answered"]


async def test_nobody_waits_longer_than_the_deadline_and_the_specialist_is_free_again(house) -> None:
    oracle = Oracle(hangs=True)
    async with house() as h:
        desk = HelpDesk(h.opened, await h.begin(), oracle)
        with trio.fail_after(10):
            late = await desk.ask(AskForHelp("architect", "Now?", 0.1), KEY, asker="tester")
        assert (late.answered, late.text) == (False, "the architect did not answer within 0 s")
        oracle.hangs = False
        # Its time is over, whoever asks again.
        assert (await desk.ask(AskForHelp("architect", "Now?", 0.1), KEY, asker="tester")).text == late.text
        again = await desk.ask(QUESTION, CommandKey("step", "other"), asker="tester")
        assert again.answered


async def test_a_model_that_fails_and_no_model_at_all_are_answers_too(house) -> None:
    async with house() as h:
        session = await h.begin()
        failed = await HelpDesk(h.opened, session, Oracle(fails=True)).ask(QUESTION, KEY, asker="tester")
        assert (failed.answered, failed.text) == (False, "no model could answer: it is away")
        without = await HelpDesk(h.opened, session, None).ask(QUESTION, CommandKey("step", "b"), asker="tester")
        assert "no model provider is configured" in without.text


async def test_what_cannot_be_asked_is_refused_and_nothing_is_written(house) -> None:
    async with house() as h:
        session = await h.begin()
        desk = HelpDesk(h.opened, session, Oracle())
        for wish in (
            AskForHelp("wizard", "How?"),
            AskForHelp("architect", "  "),
            AskForHelp("architect", "x" * 20_000),
            AskForHelp("architect", "How?", 1e9),
        ):
            with pytest.raises(InvalidInput):
                await desk.ask(wish, KEY, asker="tester")
        assert await events(h, session) == []


async def test_whoever_wants_to_know_is_told_of_a_question_once_and_not_what_it_says(house) -> None:
    heard: list[Happening] = []
    arrived = trio.Event()

    async def hears(happening: Happening) -> None:
        heard.append(happening)
        arrived.set()

    async with house() as h:
        session = await h.begin()
        await h.opened.callbacks.on_help_needed(hears)
        register = RegisterTargets("test", (("chat", (CallbackEvent.HELP_NEEDED,)),))
        await h.opened.store.execute(register, h.opened.key())
        desk = HelpDesk(h.opened, session, Oracle())
        for _ in range(2):
            await desk.ask(AskForHelp("architect", "CANARY?"), KEY, asker="tester")
        (row,) = await h.opened.store.read(callbacks, list(CallbackStatus), None, 10)
        assert (row.event, "CANARY" in row.body, '"role": "architect"' in row.body) == ("on_help_needed", False, True)
        with trio.fail_after(5):
            await arrived.wait()
        assert [one.facts for one in heard] == [{"asker": "tester", "role": "architect"}]


async def test_a_model_asks_through_a_tool_whose_every_refusal_is_an_answer(house) -> None:
    async with house() as h:
        desk = HelpDesk(h.opened, await h.begin(), Oracle())
        tools = HelpTools(desk, role="tester", task_id=None, by="specialist:tester", roles=("architect", "reviewer"))
        (spec,) = tools.specs()
        assert spec.parameters["properties"]["role"]["enum"] == ["architect", "reviewer"]

        async def call(number: int, **arguments: object):
            return await tools.call(ToolCall("1", spec.name, arguments), CommandKey("step", str(number)))

        good = await call(1, role="architect", question="Which?")
        assert (good.text, good.is_error) == ("The architect answers:\nThe first.", False)
        wrong = [await call(2, role="architect"), await call(3, role="wizard", question="?"), await call(4, who="me")]
        assert all(one.is_error for one in wrong)
        assert "question" in wrong[0].text


def test_the_longest_question_stays_within_the_limit_of_the_smallest_role() -> None:
    role = load_roles()["architect"].model_copy(
        update={"context_tokens_max": 1_000, "role_definition": "🦉" * 10_000, "expertise": ("x" * 5_000,)}
    )
    request = request_of(role, "tester", "é" * 16_000)
    # A token has at least one byte.
    assert len(request.system.encode()) + len(request.messages[0].text.encode()) <= 1_000
    assert request.messages[0].text
