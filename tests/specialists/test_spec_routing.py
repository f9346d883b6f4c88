"""The choice of specialists: what speaks for whom, how sure it is, what it learns, and that a name always counts."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_agents.specialists.roles import Role, load_roles
from vespera_agents.specialists.routing import lexicon
from vespera_agents.specialists.routing.choosing import FRESH_SECONDS, Chooser
from vespera_agents.specialists.routing.learning import Lessons, lessons_of
from vespera_agents.specialists.routing.suggesting import GENERIC, History, Knowledge, Outcomes, TaskFacts
from vespera_agents.specialists.routing.words import stem, words_of
from vespera_agents.store.commands import TaskEdit
from vespera_agents.store.corrections import Correction
from vespera_agents.work.drafts import walk_drafts
from vespera_agents.work.models import ROLE_NAMES, Complexity, TaskType
from vespera_agents.work.plans import plan_drafts, read_plan_bytes

PLANS = Path(__file__).parent.parent / "plans"
KNOWN = Knowledge(load_roles())


def suggest(title: str, *, known: Knowledge = KNOWN, history: History | None = None, **more: str):
    return known.suggest(TaskFacts(title, **more), history)


def role(name: str, *expertise: str, definition: str = "You do it.") -> Role:
    return Role(name=name, role_definition=definition, expertise=expertise)


# words


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ("test tests tested testing", True),
        ("plan plans planned planning", True),
        ("write writing writes", True),
        ("repository repositories", True),
        ("call calling called", True),
        ("pass passes passing", True),
        ("ring", True),
        ("test tester", False),
        ("new news", True),
    ],
)
def test_the_spellings_of_a_word_have_one_stem(words: str, same: bool) -> None:
    assert (len({stem(word) for word in words.split()}) == 1) == same


def test_names_as_programs_write_them_are_several_words() -> None:
    assert [word for _, word in words_of("release_notes parseTable HTTP 502 v2")] == [
        "release", "notes", "parse", "table", "http", "502", "v2",
    ]  # fmt: skip


# suggesting


def test_each_packaged_role_is_found_by_plain_words_for_its_work() -> None:
    said = {
        "architect": "Design the architecture of the importer",
        "analyst": "Analyse the requirements and estimate the risk",
        "researcher": "Research prior art and compare the literature",
        "implementer": "Implement the endpoint",
        "debugger": "Fix the crash and find its root cause",
        "tester": "Integration tests for the parser",
        "reviewer": "Code review of the pull request",
        "documenter": "Write the tutorial and the README",
        "devops": "Deploy the container and set up monitoring",
        "coordinator": "Plan the sprint and coordinate the teams",
        "generic": "Water the flowers",
    }
    assert set(said) == set(ROLE_NAMES)
    found = {name: suggest(title) for name, title in said.items()}
    assert {name: one.role for name, one in found.items()} == {name: name for name in said}
    assert all(one.confidence > 0.6 for name, one in found.items() if name != GENERIC)


@given(
    st.text(max_size=300),
    st.text(max_size=2_000),
    st.sampled_from(list(TaskType)),
    st.sampled_from(list(Complexity)),
    st.text(max_size=300),
)
def test_whatever_a_task_says_the_answer_is_whole(title, description, task_type, complexity, context) -> None:
    found = KNOWN.suggest(TaskFacts(title, description, task_type, complexity, context))
    named = [found.role, *(one.role for one in found.alternatives)]
    sure = [found.confidence, *(one.confidence for one in found.alternatives)]
    assert len(set(named)) == len(named) == 4
    assert sure == sorted(sure, reverse=True)
    assert 0.0 < sum(sure) <= 1.0 + 1e-9
    assert found.reasons


def test_reasons_name_what_speaks_for_it_the_strongest_first() -> None:
    found = suggest("Integration tests for checkout", task_type="testing", description="Mind the edge cases.")
    assert found.role == "tester"
    assert found.reasons[:2] == ("its type is testing", "the title says 'integration tests'")
    assert any("'edge cases'" in one for one in found.reasons)
    assert suggest("Flowers").reasons == ("nothing speaks clearly for another",)


def test_type_complexity_and_container_speak_where_the_words_do_not() -> None:
    plain = suggest("Checkout")
    assert plain.role == GENERIC
    assert suggest("Checkout", task_type="deployment").role == "devops"
    assert suggest("Checkout", task_type="review").role == "reviewer"
    inside = suggest("Checkout", context="Testing and test coverage")
    assert inside.role == "tester"
    assert inside.confidence < suggest("Testing and test coverage").confidence
    hard, easy = suggest("Interface", complexity="very_complex"), suggest("Interface", complexity="trivial")
    assert hard.role == "architect"
    assert hard.confidence > easy.confidence


def test_a_long_description_does_not_outweigh_the_title() -> None:
    found = suggest("Fix the crash on startup", description="Document it. Then tests, then deploy. " * 200)
    assert found.role == "debugger"


def test_what_was_said_before_says_nothing_more() -> None:
    known = Knowledge({"generic": role("generic"), "vault": role("vault", "cold storage")})
    once = suggest("See to the cold storage", known=known)
    assert once.role == "vault"
    assert suggest("See to the cold storage", known=known, description="Cold storage. Cold storage!") == once
    twice = suggest("Look", known=known, description="Cold storage. Cold storage.")
    assert twice == suggest("Look", known=known, description="Cold storage.")


def test_a_role_of_the_workspace_is_found_by_its_expertise_its_name_and_what_it_says_of_itself() -> None:
    known = Knowledge(load_roles() | {"painter": role("painter", "watercolour", "wall painting", definition="Paints.")})
    assert suggest("A watercolour of the harbour", known=known).role == "painter"
    assert suggest("Wall painting in the hall", known=known).role == "painter"
    assert suggest("Something for the painter", known=known).role == "painter"
    assert suggest("Integration tests", known=known).role == "tester"
    assert suggest("Integration tests", known=Knowledge(load_roles() | {"42": role("42", "?", "7")})).role == "tester"
    # Nobody is chosen whom the workspace does not have.
    assert suggest("Integration tests", known=Knowledge({"painter": role("painter", "oil")})).role == "painter"


def test_a_workspace_that_teaches_a_packaged_role_something_new_is_heard() -> None:
    assert suggest("Zeppelin").role == GENERIC
    known = Knowledge(load_roles() | {"devops": role("devops", "zeppelin")})
    assert suggest("Zeppelin", known=known).role == "devops"


def test_success_and_work_in_hand_tip_what_is_open_and_make_no_choice() -> None:
    def first(one: History) -> str:
        return suggest("Alpha beta", known=known, history=one).role

    known = Knowledge({"one": role("one", "alpha"), "two": role("two", "beta")})
    assert first(History(outcomes={"one": Outcomes(0, 20), "two": Outcomes(20, 0)})) == "two"
    assert first(History(outcomes={"one": Outcomes(20, 0), "two": Outcomes(0, 20)})) == "one"
    assert first(History(in_hand={"one": 30})) == "two"
    assert first(History(in_hand={"two": 30})) == "one"
    worst = History(outcomes={"tester": Outcomes(0, 50), "devops": Outcomes(50, 0)}, in_hand={"tester": 64})
    assert suggest("Integration tests", history=worst).role == "tester"
    few = History(outcomes={"one": Outcomes(0, 4), "two": Outcomes(4, 0)})
    assert suggest("Alpha beta", known=known, history=few) == suggest("Alpha beta", known=known)


# learning


def history(*cases: tuple[str, str]) -> History:
    return History(lessons_of(Correction(title, "", chosen) for title, chosen in cases))


def test_a_correction_is_followed_for_what_is_like_it_and_for_nothing_else() -> None:
    once = history(("Invoice run for March", "analyst"))
    assert suggest("Invoice run for April").role != "analyst"
    found = suggest("Invoice run for April", history=once)
    assert found.role == "analyst"
    assert found.reasons[0].startswith("you gave it tasks with ")
    assert "'invoice'" in found.reasons[0]
    assert suggest("Integration tests", history=once) == suggest("Integration tests")


def test_corrections_overrule_the_lexicon_when_they_are_many_and_take_turns_when_they_disagree() -> None:
    title = "Integration tests for checkout"
    assert suggest(title, history=history(("Integration tests for search", "devops"))).confidence < 1.0
    assert suggest(title, history=history(*[("Integration tests for search", "devops")] * 6)).role == "devops"
    torn = history(*[("Zeppelin", "devops"), ("Zeppelin", "analyst")] * 10)
    found = suggest("Zeppelin", history=torn)
    assert {found.role, found.alternatives[0].role} == {"devops", "analyst"}


def test_one_case_says_less_than_ten_and_a_word_that_was_never_seen_nothing() -> None:
    def weight(count: int) -> float:
        return lessons_of([Correction("Zeppelin", "", "devops")] * count).weight("zeppelin", "devops", 11)

    assert Lessons().weight("zeppelin", "devops", 11) == 0.0
    assert 0.0 < weight(1) < weight(2) < weight(10) < weight(1_000)
    # Chance of one in eleven: no number of cases says more.
    assert weight(1_000) < 2.4


# the lexicon


def test_the_lexicon_speaks_for_packaged_roles_alone_and_quotes_no_title_of_a_plan() -> None:
    for table in (lexicon.WORDS, lexicon.OPENINGS):
        assert set(table) == set(ROLE_NAMES) - {GENERIC}
    assert set(lexicon.BY_TYPE) <= set(TaskType)
    assert set(lexicon.BY_COMPLEXITY) <= set(Complexity)
    titles: set[tuple[str, ...]] = set()
    for path in PLANS.glob("*.md.gz"):
        plan = read_plan_bytes(gzip.decompress(path.read_bytes()), name=path.name)
        titles |= {tuple(one for one, _ in words_of(draft.title)) for draft, _, _ in walk_drafts(plan_drafts(plan))}
    assert ("version", "tag") in titles
    phrases = {
        tuple(one for one, _ in words_of(phrase))
        for weights in lexicon.WORDS.values()
        for text in weights.values()
        for phrase in re.findall(r"'([^']+)'", text)
    }
    assert not phrases & titles


def test_no_word_of_the_lexicon_stands_twice_for_one_role() -> None:
    for name, weights in lexicon.WORDS.items():
        entries = [entry for text in weights.values() for entry in re.findall(r"'[^']*'|[^\s']+", text)]
        twice = {entry for entry in entries if entries.count(entry) > 1}
        assert not twice, f"{name}: {twice}"


# plan_task


async def test_a_task_without_a_specialist_gets_one_and_the_answer_says_why(house, draft):
    async with house() as h:
        await h.begin()
        answer = await h.tasks.plan(
            h.call(),
            [draft("a", title="Integration tests for checkout"), draft("b", title="Bake a cake", specialist="tester")],
        )
        chosen, named = answer.tasks
        assert (chosen.specialist, (await h.show(chosen.id)).specialist) == ("tester", "tester")
        assert chosen.suggestion is not None
        assert chosen.suggestion.confidence > 0.8
        assert chosen.suggestion.reasons[0] == "the title says 'integration tests'"
        assert len(chosen.suggestion.alternatives) == 3
        assert (named.specialist, named.suggestion) == ("tester", None)


async def test_a_named_specialist_is_kept_whatever_the_task_says(house, draft):
    async with house() as h:
        await h.begin()
        answer = await h.tasks.plan(h.call(), [draft("a", title="Integration tests", specialist="generic")])
        assert answer.tasks[0].specialist == "generic"
        assert answer.tasks[0].suggestion is None


async def test_a_container_says_what_its_tasks_are_about(house, draft):
    async with house() as h:
        await h.begin()
        below = (draft("checkout", title="Checkout"),)
        first = await h.tasks.plan(h.call(), [draft("all", title="Testing and test coverage", subtasks=below)])
        assert first.tasks[1].specialist == "tester"
        later = await h.tasks.plan(
            h.call(), [draft("search", title="Search box")], parent_task_id=first.root_task_ids[0]
        )
        assert later.tasks[0].specialist == "tester"


async def test_a_correction_is_learned_of_at_once_and_forgotten_with_its_task(house, draft):
    async with house() as h:
        await h.begin()
        (first,) = (await h.plan(draft("a", title="Invoice run for March"))).values()
        before = (await h.show(first)).specialist
        assert before != "analyst"
        await h.tasks.update(h.call(), first, edit=TaskEdit(specialist="analyst"))
        (second,) = (await h.plan(draft("b", title="Invoice run for April"))).values()
        assert (await h.show(second)).specialist == "analyst"
        # The last word counts.
        await h.tasks.update(h.call(), first, edit=TaskEdit(specialist="devops"))
        (third,) = (await h.plan(draft("c", title="Invoice run for May"))).values()
        assert (await h.show(third)).specialist == "devops"
        await h.tasks.delete(h.call(), first, mode="delete", force=True)
        chooser = Chooser(h.opened)
        found = await chooser.choose([draft("d", title="Invoice run for June")])
        assert found["d"].role == before
        assert chooser.statistics().lessons == 0


async def test_a_call_that_is_repeated_after_a_correction_gives_what_it_gave(house, draft):
    async with house() as h:
        await h.begin()
        made = await h.tasks.plan(h.call("once"), [draft("a", title="Invoice run")])
        await h.tasks.update(h.call(), made.tasks[0].id, edit=TaskEdit(specialist="analyst"))
        again = await h.tasks.plan(h.call("once"), [draft("a", title="Invoice run")])
        assert again.tasks[0].id == made.tasks[0].id
        # By now another would be chosen; the task was given to this one, and why is told as it was then.
        assert again.tasks == made.tasks
        assert made.tasks[0].suggestion is not None
        assert await h.found() == ["Invoice run"]


async def test_a_role_file_is_heard_of_within_seconds_and_rows_are_read_no_more_often(house, draft, still_clock):
    async with house() as h:
        await h.begin()
        chooser = Chooser(h.opened)
        for _ in range(10):
            assert (await chooser.choose([draft("a", title="A fresco of the harbour")]))["a"].role == GENERIC
        assert chooser.statistics().looked == 1
        roles = h.opened.workspace.dot / "roles"
        roles.mkdir(exist_ok=True)
        (roles / "painter.yaml").write_text("painter:\n  role_definition: You paint.\n  expertise: [fresco]\n")
        still_clock.jump(FRESH_SECONDS)
        assert (await chooser.choose([draft("a", title="A fresco of the harbour")]))["a"].role == "painter"
        assert chooser.statistics().looked == 2
        assert chooser.statistics().suggested == 11


async def test_a_plan_that_is_run_has_its_unnamed_tasks_done_by_whom_they_are_for(house):
    async with house() as h:
        result = await h.run("# Work\n\n## Phase 1: All\n\n### Integration tests\n```yaml\nrun: 'true'\n```\n")
        assert result.outcome == "completed"
        (task,) = [task for task in result.tasks if task.title == "Integration tests"]
        assert (await h.show(task.id)).specialist == "tester"
