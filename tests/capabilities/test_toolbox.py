"""The tools of a model: confined, bounded, and answering in words whatever is asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from supervisors.guardian import open_guardian
from vespera_agents.capabilities.tools import Commands, Toolbox, ToolOutcome, searching, texts
from vespera_agents.capabilities.tools import files as files_module
from vespera_agents.capabilities.tools.arguments import TOOLS
from vespera_agents.capabilities.tools.files import Confined, FileRefused
from vespera_agents.capabilities.working_copies.places import PART_PREFIX
from vespera_agents.providers.exchange import ToolCall
from vespera_agents.specialists.roles import load_roles
from vespera_agents.work.models import CommandLine

ALL = tuple(TOOLS)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "copy"
    directory.mkdir()
    (directory / "code.py").write_text("def one():\n    return 1\n\ndef two():\n    return 2\n")
    (directory / "sub" / "deep").mkdir(parents=True)
    (directory / "sub" / "deep" / "text.md").write_text("# Title\nOne more line\n")
    (directory / "sub-a").touch()
    (directory / ".git").write_text("gitdir: elsewhere\n")
    (tmp_path / "secret").write_text("secret\n")
    return directory


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def exchange(directory: Path, text: str) -> None:
    """Put another directory in its place."""
    directory.rename(directory.with_name("old"))
    directory.mkdir()
    (directory / "code.py").write_text(text)


async def ask(box: Toolbox, name: str, *, again: bool = False, **arguments: object) -> ToolOutcome:
    return await box.call(ToolCall("1", name, arguments), again=again)


async def told(box: Toolbox, name: str, **arguments: object) -> str:
    """Give what a call that succeeds says."""
    outcome = await ask(box, name, **arguments)
    assert not outcome.is_error, outcome.text
    return outcome.text


async def refused(box: Toolbox, name: str, **arguments: object) -> str:
    """Give what a call that fails says; it changes nothing."""
    outcome = await ask(box, name, **arguments)
    assert outcome.is_error
    assert not outcome.changed
    return outcome.text


def test_a_toolbox_offers_what_its_role_may_use_and_no_command_without_somebody_to_run_it(place: Path) -> None:
    assert [spec.name for spec in Toolbox(place, ("search", "read_file", "search", "unknown")).specs()] == [
        "search",
        "read_file",
    ]
    assert "run_command" not in [spec.name for spec in Toolbox(place, ALL).specs()]
    spec = next(spec for spec in Toolbox(place, ALL).specs() if spec.name == "edit_file")
    assert spec.description.startswith("Replace an exact piece")
    assert set(spec.parameters) == {"type", "properties", "additionalProperties", "required"}
    assert spec.parameters["required"] == ["path", "old", "new"]


def test_every_packaged_role_may_look_and_names_tools_that_there_are() -> None:
    for role in load_roles().values():
        assert {"list_files", "read_file", "search"} <= set(role.tools) <= set(TOOLS), role.name


async def test_what_cannot_be_called_is_told_how_to(place: Path) -> None:
    box = Toolbox(place, ("read_file", "list_files"))
    assert await refused(box, "rm -rf") == "there is no tool 'rm -rf' here. There is: read_file, list_files."
    text = await refused(box, "read_file", file="code.py", lines=0)
    assert "path: Field required" in text
    assert "file: Extra inputs" in text
    assert text.endswith("It takes path, from_line=1, lines=500.")
    assert box.statistics().errors == 2
    assert box.statistics().calls == {"read_file": 1, "list_files": 0}


async def test_files_are_listed_in_order_and_a_long_list_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "link").symlink_to("code.py")
    box = Toolbox(place, ALL)
    everything = (
        "code.py (49 bytes)\nlink -> code.py (a link)\nsub/\nsub/deep/\nsub/deep/text.md (22 bytes)\nsub-a (0 bytes)"
    )
    assert await told(box, "list_files", depth=5) == everything
    assert await told(box, "list_files", path="sub") == "sub/deep/\nsub/deep/text.md (22 bytes)"
    assert await told(box, "list_files", path=str(place / "sub"), depth=1) == "sub/deep/"
    monkeypatch.setattr("vespera_agents.capabilities.tools.toolbox.ENTRIES_MAX", 2)
    lines: list[str] = []
    after = ""
    while True:
        *page, last = (await told(box, "list_files", depth=5, after=after)).splitlines()
        lines += page
        if not last.startswith("There is more"):
            break
        after = last.split("'")[1]
    assert "\n".join([*lines, last]) == everything


async def test_a_file_is_read_page_by_page(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Toolbox(place, ALL)
    assert await told(box, "read_file", path="code.py", from_line=4) == (
        "code.py: lines 4 to 5 of 5\ndef two():\n    return 2"
    )
    first = await told(box, "read_file", path="./code.py", lines=2)
    assert first == "./code.py: lines 1 to 2 of 5 (go on with from_line=3)\ndef one():\n    return 1"
    monkeypatch.setattr(texts, "PAGE_BYTES_MAX", 100)
    (place / "long").write_bytes(b"x" * 300 + b"\r\n\xff\n" + b"line\n" * 50)
    assert (await told(box, "read_file", path="long")).startswith(
        "long: lines 1 to 1 of 52 (of its 301 bytes the first 100 are shown; its lines end with CR LF; go on with"
        " from_line=2)\nxxxx"
    )
    second = await told(box, "read_file", path="long", from_line=2)
    assert second.startswith("long: lines 2 to 21 of 52 (what is not UTF-8 is shown as \ufffd")
    (place / "binary").write_bytes(b"a\0b")
    (place / "nothing").touch()
    assert "is no text" in await refused(box, "read_file", path="binary")
    assert await told(box, "read_file", path="nothing") == "nothing is empty"
    assert "Read from an earlier one" in await refused(box, "read_file", path="code.py", from_line=9)
    assert "List it with list_files" in await refused(box, "read_file", path="sub")
    monkeypatch.setattr(files_module, "FILE_BYTES_MAX", 10)
    assert "is the most that is read" in await refused(box, "read_file", path="code.py")


async def test_an_exact_piece_is_replaced_once_and_only_once(place: Path) -> None:
    box = Toolbox(place, ALL)
    edit = {"path": "code.py", "old": "return 1", "new": "return 10"}
    done = await ask(box, "edit_file", **edit)
    assert (done.text, done.changed) == ("code.py: replaced 1 piece", True)
    # Its outcome was lost, and it is done once more: what is there already is not made twice.
    for _ in range(2):
        again = await ask(box, "edit_file", again=True, **edit)
        assert (again.is_error, again.changed) == (False, False)
    assert (place / "code.py").read_text().count("return 10\n") == 1
    assert "2 times" in await refused(box, "edit_file", path="code.py", old="def ", new="async def ")
    assert await told(box, "edit_file", path="code.py", old="def ", new="async def ", all=True)
    assert "line 5 holds its first line" in await refused(
        box, "edit_file", path="code.py", old="return 2\n  odd", new="x"
    )
    assert "read it again" in await refused(box, "edit_file", path="code.py", old="nowhere", new="x")
    assert "are the same" in await refused(box, "edit_file", path="code.py", old="def", new="def")
    assert "there is no 'none'" in await refused(box, "edit_file", path="none", old="a", new="b")
    assert (place / "code.py").read_text() == "async def one():\n    return 10\n\nasync def two():\n    return 2\n"


async def test_the_ends_of_lines_and_the_permissions_of_a_file_stay(place: Path) -> None:
    (place / "dos.bat").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    (place / "dos.bat").chmod(0o755)
    box = Toolbox(place, ALL)
    await told(box, "edit_file", path="dos.bat", old="one\ntwo", new="1\n2\n2.5")
    assert (place / "dos.bat").read_bytes() == b"1\r\n2\r\n2.5\r\nthree\r\n"
    assert (place / "dos.bat").stat().st_mode & 0o777 == 0o755


async def test_a_file_is_written_with_its_folders_and_not_through_its_other_name(place: Path, tmp_path: Path) -> None:
    box = Toolbox(place, ALL)
    written = await ask(box, "write_file", path="new/er/file.txt", text="ä\n")
    assert (written.text, written.changed) == ("new/er/file.txt: written, 3 bytes", True)
    assert await told(box, "write_file", path="new/er/file.txt", text="b") == "new/er/file.txt: replaced, 1 bytes"
    os.link(tmp_path / "secret", place / "hard")
    await told(box, "write_file", path="hard", text="mine")
    assert (tmp_path / "secret").read_text() == "secret\n"
    assert not [name for name in names(place) if name.startswith(PART_PREFIX)]
    assert "no regular file" in await refused(box, "write_file", path="sub", text="x")
    assert "symbolic link or a file" in await refused(box, "write_file", path="code.py/x", text="x")
    assert "Name a file in it" in await refused(box, "write_file", path=".", text="x")
    assert "name too long" in (await refused(box, "write_file", path="x" * 300, text="x")).lower()


OUTSIDE = (
    "../secret",
    "sub/../../secret",
    "/etc/passwd",
    "{out}/secret",
    "link/secret",
    "secretlink",
    "sub/up/secret",
    ".git",
    ".GIT/config",
    "sub/.git/config",
    ".gi\u200dt/config",
    ".git. ",
    ".vespera/vespera.db",
    "a\0b",
    "\udc80",
)


@pytest.mark.parametrize("path", OUTSIDE)
async def test_nothing_outside_is_read_listed_searched_or_written(place: Path, tmp_path: Path, path: str) -> None:
    (place / "link").symlink_to(tmp_path)
    (place / "secretlink").symlink_to(tmp_path / "secret")
    (place / "sub" / "up").symlink_to("../..")
    box = Toolbox(place, ALL)
    given = path.format(out=tmp_path)
    for name, more in (
        ("read_file", {}),
        ("list_files", {}),
        ("search", {"pattern": "secret"}),
        ("edit_file", {"old": "secret", "new": "public"}),
        ("write_file", {"text": "public"}),
    ):
        text = await refused(box, name, path=given, **more)
        assert text.encode()
        assert text.endswith("."), text
    assert (tmp_path / "secret").read_text() == "secret\n"
    assert sorted(names(tmp_path)) == ["copy", "secret"]
    assert "secret\n" not in await told(box, "search", pattern="secret")


@pytest.mark.unmeasured
async def test_a_folder_that_is_exchanged_for_a_link_all_the_time_never_leads_out(place: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("outside inside")
    (place / "moving").mkdir()
    (place / "moving" / "file").write_text("inside")
    (place / "link").symlink_to(outside)
    over = threading.Event()

    def exchange_them() -> None:
        while not over.is_set():
            for one, other in (("moving", "aside"), ("link", "moving"), ("moving", "link"), ("aside", "moving")):
                (place / one).rename(place / other)

    thread = threading.Thread(target=exchange_them)
    thread.start()
    try:
        box = Toolbox(place, ALL)
        read = [await ask(box, "read_file", path="moving/file") for _ in range(150)]
        # The other thread may have been held up just where there is nothing to be read.
        with trio.move_on_after(60):
            while all(outcome.is_error for outcome in read):
                read.append(await ask(box, "read_file", path="moving/file"))
        for _ in range(150):
            await ask(box, "edit_file", path="moving/file", old="inside", new="inside!")
    finally:
        over.set()
        thread.join()
    assert all("outside" not in outcome.text for outcome in read)
    assert any(not outcome.is_error for outcome in read)
    assert names(outside) == ["file"]
    assert (outside / "file").read_text() == "outside inside"


async def test_a_copy_that_is_replaced_as_a_whole_is_not_followed(place: Path, tmp_path: Path) -> None:
    box = Toolbox(place, ALL)
    exchange(place, "other")
    assert "replaced by something else" in await refused(box, "read_file", path="code.py")


async def test_pipes_and_devices_are_not_waited_for(place: Path) -> None:
    os.mkfifo(place / "pipe")
    box = Toolbox(place, ALL)
    with trio.fail_after(10):
        assert "neither file nor folder" in await refused(box, "read_file", path="pipe")
        assert "no regular file" in await refused(box, "write_file", path="pipe", text="x")
        await told(box, "search", pattern="x")


async def test_text_is_found_by_words_and_by_expressions(place: Path) -> None:
    box = Toolbox(place, ALL)
    assert await told(box, "search", pattern="return") == (
        "code.py:2:     return 1\ncode.py:5:     return 2\n2 lines found; 3 files were read."
    )
    assert (await told(box, "search", pattern="ONE", ignore_case=True, files="*.md")).startswith(
        "sub/deep/text.md:2: One more line\n1 lines found; 1 files"
    )
    assert (await told(box, "search", pattern=r"^def (\w+)\(\):$", regex=True)).count("code.py:") == 2
    assert (await told(box, "search", pattern="return", path="sub")).startswith("0 lines found")
    assert (await told(box, "search", pattern="def", path="code.py")).count("code.py:") == 2
    assert "is no regular expression" in await refused(box, "search", pattern="(", regex=True)


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|a)*b", r"(.*a){20}b", r"^(([a-z])+.)+[A-Z]([a-z])+$"])
async def test_no_expression_holds_the_loop_or_takes_longer_than_its_time(
    place: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    (place / "trap").write_text("a" * 5_000 + "!\n")
    box = Toolbox(place, ALL)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.sleep(0.01)
            ticks += 1

    # A busy machine may hold the loop up for one of these times; a search that holds it does so for each.
    for seconds in (0.2, 0.5, 2.0):
        monkeypatch.setattr(searching, "SECONDS_MAX", seconds)
        ticks = 0
        with trio.fail_after(seconds + 10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                outcome = await ask(box, "search", pattern=pattern, regex=True)
                nursery.cancel_scope.cancel()
        assert not outcome.is_error or "takes too long on line 1 of trap" in outcome.text
        if ticks >= 3 or not outcome.is_error:
            break
    else:
        pytest.fail("the loop stood still during each of three searches")


@pytest.mark.parametrize("pattern", ["(?R)", "(a|(?1))*", "(?&name)", "(?P>name)", "(?:word){e<=3}", "(?:a){s<5:[b]}"])
async def test_an_expression_that_may_take_memory_without_bounds_is_refused(place: Path, pattern: str) -> None:
    assert "may not refer to itself" in await refused(Toolbox(place, ALL), "search", pattern=pattern, regex=True)


async def test_a_search_is_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Toolbox(place, ALL)
    (place / "many").write_text("word\n" * 1_000 + "w" * 2_000)
    found = await told(box, "search", pattern="word")
    assert found.count("\n") == searching.MATCHES_MAX
    assert "Narrow it with path" in found
    assert len((await told(box, "search", pattern="www")).encode()) < 1_000
    monkeypatch.setattr(searching, "BYTES_MAX", 10)
    assert "it has read 10 bytes" in await told(box, "search", pattern="word")


@asynccontextmanager
async def commanding(
    place: Path, refusal: Callable[[CommandLine], str | None] = lambda _: None, **more
) -> AsyncIterator[Toolbox]:
    async with open_guardian(None) as guardian:
        commands = Commands(guardian, {"PATH": os.environ["PATH"]}, refusal, **more)
        yield Toolbox(place, ALL, commands=commands)


async def test_a_command_runs_in_the_copy_and_tells_how_it_ended(place: Path) -> None:
    heard = bytearray()
    async with commanding(place, hear=heard.extend) as box:
        done = await ask(box, "run_command", command="sh -c 'pwd; ls'")
        assert (done.is_error, done.changed) == (False, True)
        assert "exit status 0 after" in done.text
        assert f"{place}\ncode.py\nsub\nsub-a\n" in done.text
        assert bytes(heard).decode() in done.text
        failed = await ask(box, "run_command", command="sh -c 'echo no; exit 3'")
        assert (failed.is_error, failed.changed) == (True, True)
        assert "exit status 3" in failed.text
        late = await ask(box, "run_command", command="sleep 60", timeout_seconds=0.1)
        assert "timed out after 0.1 s" in late.text
        assert "not found: nothing-of-that-name" in (await ask(box, "run_command", command="nothing-of-that-name")).text
        assert "is no command" in await refused(box, "run_command", command="echo 'open")


async def test_of_a_long_output_the_beginning_and_the_end_are_kept(place: Path) -> None:
    async with commanding(place) as box:
        text = await told(box, "run_command", command="seq 1 200000")
    assert "\n1\n2\n" in text
    assert text.rstrip().endswith("\n199999\n200000")
    assert "bytes are left out here" in text
    assert len(text) < 40_000


async def test_a_command_that_is_not_allowed_does_not_run(place: Path) -> None:
    def refusal(line: CommandLine) -> str | None:
        return None if line.argv()[0] == "true" else f"`{line.text}` is not allowed. Ask the owner."

    async with commanding(place, refusal, timeout_seconds_max=5) as box:
        assert await refused(box, "run_command", command="touch x") == "`touch x` is not allowed. Ask the owner."
        await told(box, "run_command", command="true", timeout_seconds=3_000)
    assert not (place / "x").exists()


def test_what_is_checked_is_what_is_opened(place: Path) -> None:
    confined = Confined(place)
    assert confined.parts(f"{place}//sub/./deep") == ("sub", "deep")
    with pytest.raises(FileRefused, match="lies outside"):
        confined.parts(f"{place}/../secret")
