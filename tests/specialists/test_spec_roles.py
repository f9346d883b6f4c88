"""Roles as data: the packaged ones, a workspace's own over them, and files that are no role files at all."""

from __future__ import annotations

import os

import pytest

from vespera_agents.specialists.roles import load_roles
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.models import ROLE_NAMES


@pytest.fixture
def roles(home):
    directory = home / ".vespera" / "roles"
    directory.mkdir(parents=True)
    return directory


def test_the_packaged_roles_are_those_of_the_vocabulary_and_each_says_who_it_is():
    packaged = load_roles()
    assert tuple(packaged) == ROLE_NAMES
    assert all(role.role_definition and role.expertise and role.approach for role in packaged.values())


def test_a_workspace_overrides_fields_and_adds_roles_and_files_merge_by_name(roles):
    (roles / "a.yaml").write_text("Coder: {expertise: [tea]}\nqa-lead:\n  role_definition: You lead.\n")
    (roles / "b.yml").write_text("qa_lead: {output_format: A list.}\n")
    (roles / "empty.yaml").touch()
    (roles / "notes.txt").write_text("not a role file")
    found = load_roles(roles)
    packaged = load_roles()["implementer"]
    assert found["implementer"].expertise == ("tea",), "`coder` means implementer"
    assert found["implementer"].role_definition == packaged.role_definition
    assert (found["qa_lead"].role_definition, found["qa_lead"].output_format) == ("You lead.", "A list.")
    assert set(found) == {*ROLE_NAMES, "qa_lead"}


BAD = {
    "no yaml": ("a: [", "not valid YAML"),
    "a list": ("- tester\n", "not a mapping"),
    "a text": ("tester\n", "not a mapping"),
    "fields missing": ("mine: {expertise: [x]}\n", "role_definition: Field required"),
    "an unknown field": ("tester: {nonsense: 1}\n", "nonsense: Extra inputs"),
    "a wrong type": ("tester: {expertise: 3}\n", "expertise"),
    "too small": ("tester: {context_tokens_max: 10}\n", "context_tokens_max"),
    "a name inside": ("tester: {name: other}\n", "name"),
    "a number as field": ("tester: {1: x}\n", "not valid"),
    "no name": ('"": {role_definition: x}\n', "no name of a role"),
    "a long name": (f"{'n' * 65}: {{role_definition: x}}\n", "no name of a role"),
    "a name of two lines": ('"a\\nb": {role_definition: x}\n', "no name of a role"),
    "deep": ("[" * 1_000, "not valid YAML"),
    "an impossible date": ("tester: {role_definition: 2026-99-99}\n", "not valid"),
    "huge": ("#" * 300_000, "larger than"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_a_bad_role_file_is_refused_with_its_name_and_what_is_wrong(roles, text, words):
    (roles / "mine.yaml").write_text(text)
    with pytest.raises(InvalidInput, match=r"mine\.yaml") as refusal:
        load_roles(roles)
    assert words in str(refusal.value)


def test_what_is_no_regular_file_is_refused_and_never_read(roles):
    for make in (
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.mkdir(),
    ):
        path = roles / "mine.yaml"
        make(path)
        with pytest.raises(InvalidInput, match="no regular file"):
            load_roles(roles)
        path.rmdir() if path.is_dir() else path.unlink()


def test_role_files_that_cannot_be_listed_are_told_and_not_passed_over(roles):
    roles.rmdir()
    assert load_roles(roles) == load_roles()
    roles.write_text("tester: {role_definition: You are a file.}")
    with pytest.raises(InvalidInput, match="the role files in roles cannot be read"):
        load_roles(roles)


async def test_a_bad_role_file_is_told_by_every_call_that_needs_it_and_takes_nothing_down(house, roles, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a", specialist="tester"))
        (roles / "bad.yaml").write_text("tester: {nonsense: 1}\n")
        for _ in range(5):
            with pytest.raises(InvalidInput, match=r"bad\.yaml"):
                await h.claim(ids["a"])
            with pytest.raises(InvalidInput, match=r"bad\.yaml"):
                await h.sessions.initialize(h.call(), None, "another")
        assert (await h.show(ids["a"])).status == "pending", "it is found before the task is taken"
        assert (await h.sessions.list()).total == 1
        assert (await h.sessions.get_status()).ready[0].id == ids["a"]
        assert await h.found() == ["a"]
        (roles / "bad.yaml").write_text("tester: {role_definition: You break things.}\n")
        assert "You break things." in (await h.claim(ids["a"])).prompt


async def test_a_changed_role_counts_from_the_next_piece_of_work_on(house, roles, draft):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a", specialist="tester"), draft("b", specialist="tester"))
        assert "You are new." not in (await h.claim(ids["a"])).prompt
        (roles / "mine.yaml").write_text("tester: {role_definition: You are new.}\n")
        assert "You are new." in (await h.claim(ids["b"])).prompt
        assert len(h.opened.sessions[session].specialists.which_children()) == 1, "the outdated specialist has gone"


async def test_a_specialist_that_nobody_defined_is_the_generic_one(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a", specialist="astrologer"))
        assert "You are the generic." in (await h.claim(ids["a"])).prompt
