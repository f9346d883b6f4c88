"""The benchmark of the actors: its loops count what they do, and its peers are real processes. No speed is judged."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import actors, messages, populations
from benchmarks.harness import Options
from benchmarks.peers import HOW_TO_INSTALL, PEERS, Peer, processes
from benchmarks.peers.processes import PeerProcess, one_line, running_peers

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "benchmarks" / "peers"


def a_peer(script: str, *, distribution: str = "", has_mailbox: bool = True) -> Peer:
    return Peer(script, script.title(), distribution, has_mailbox=has_mailbox, tells=200, asks=200, about="It is here.")


QUEUE = next(peer for peer in PEERS if peer.script == "asyncio_queue")


@pytest.fixture
def script(tmp_path: Path):
    """Run a script of a peer that answers as it likes, with our interpreter."""
    running: list[PeerProcess] = []

    def start(answers: str) -> PeerProcess:
        folder = tmp_path / "benchmarks" / "peers"
        folder.mkdir(parents=True, exist_ok=True)
        for package in (folder.parent, folder):
            # A folder without this would lose against an installed package of the same name.
            (package / "__init__.py").touch()
        (folder / "liar.py").write_text(answers, encoding="utf-8")
        process = PeerProcess(a_peer("liar"))
        running.append(process)
        process.start(root=tmp_path)
        return process

    yield start
    for process in running:
        process.end()


async def test_every_loop_of_messages_checks_what_it_counted() -> None:
    assert await messages.tells(200) > 0
    assert await messages.tells(200, messages.AsyncAdder) > 0
    assert await messages.sends(250) > 0
    assert await messages.channel(150) > 0
    assert await messages.asks(20) > 0
    assert await messages.asks_of_many(200) > 0
    assert await messages.parks(20) > 0


@pytest.mark.parametrize("size", [10, 40])
async def test_every_loop_of_populations_checks_what_it_counted(size: int) -> None:
    costs = await populations.costs_of_ours(size, 80, 20)
    assert min(costs.single, costs.burst, await populations.costs_of_bare(size, 80)) > 0
    assert min(await populations.starts(size), await populations.start_soons(size)) > 0
    assert await populations.memory_of_actors(size) > await populations.memory_of_parked(size) > 100
    assert await populations.spawns(size) > 0


@pytest.fixture
def little_to_collect() -> Iterator[None]:
    """Keep what all tests of this process have imported out of the collections between measurements: 74 s of them."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.unmeasured
@pytest.mark.usefixtures("little_to_collect")
async def test_no_goal_of_a_message_is_met_while_context_is_not_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TELLS", "TELLS_BARE", "ASKS"):
        monkeypatch.setattr(actors, name, 1_000)
    monkeypatch.setattr(actors, "GOALS", {name: actors.Goal(0) for name in actors.GOALS})
    for carried in (True, False):

        async def probe(answer: bool = carried) -> bool:
            return answer

        monkeypatch.setattr(actors, "context_is_carried", probe)
        rows = await actors.messages(Options(quick=True))
        assert [row.met for row in rows] == [carried] * 5
        assert [row.reference.endswith("ours does not carry context") for row in rows] == [not carried] * 5


def test_a_peer_answers_round_by_round_and_ends_when_its_pipe_is_closed() -> None:
    with running_peers([QUEUE]) as (queue,):
        rates = [queue.round(measure, 300) for measure in ("tell", "ask", "tell")]
        assert all(rate is not None and rate > 0 for rate in rates)
        assert queue.reason == ""
        assert re.fullmatch(r"raw asyncio queue and future \d+\.\d+\.\d+", queue.title)
        process = queue._process
    assert process is not None
    assert process.returncode == 0


def test_a_peer_whose_handlers_counted_less_is_not_measured(script) -> None:
    process = script(
        'import sys\nprint(\'{"version": "1"}\', flush=True)\n'
        'for line in sys.stdin: print(\'{"seconds": 0.1, "handled": 9}\', flush=True)\n'
    )
    assert process.round("tell", 10) is None
    assert process.title == "Liar: tell: its handlers counted 9 of 10 messages"
    assert process.round("tell", 9) is None


def test_a_script_that_fails_leaves_its_last_words_as_the_reason(script) -> None:
    process = script("raise ImportError('no module of that name')")
    assert process.title == "Liar: its script ended: ImportError: no module of that name"
    assert process.round("tell", 10) is None


def test_an_error_inside_a_round_is_the_reason(script) -> None:
    process = script(
        'import sys\nprint(\'{"version": "1"}\', flush=True)\n'
        'for line in sys.stdin: print(\'{"error": "Full: no room"}\', flush=True)\n'
    )
    assert process.round("tell", 10) is None
    assert process.title == "Liar: Full: no room"


def test_a_peer_that_never_answers_is_ended(script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ANSWER_SECONDS_MAX", 0.1)
    process = script("import sys\nfor line in sys.stdin: pass\n")
    assert process.title == "Liar: no answer within 0.1 s"
    assert process._process is None


def test_a_peer_without_its_environment_says_how_to_get_it(tmp_path: Path) -> None:
    process = PeerProcess(a_peer("pykka", distribution="pykka"))
    process.start(tmp_path / "nowhere")
    assert process.title == f"Pykka: {HOW_TO_INSTALL}"


def test_a_peer_that_did_not_install_says_why(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    (tmp_path / "pykka.failed").write_text("Looking in links\nERROR: No matching pykka\nhint: ask\n", encoding="utf-8")
    process = PeerProcess(a_peer("pykka", distribution="pykka"))
    process.start(tmp_path)
    assert process.title == "Pykka: did not install: ERROR: No matching pykka"


def test_a_reason_names_no_place_of_this_machine_and_fits_into_a_cell() -> None:
    said = one_line("no file /tmp/a/b.py | see https://example.org/x\nor ask")
    assert said == "no file ... / see ... or ask"
    assert len(one_line("x" * 500)) == 160


def test_the_best_peer_is_the_fastest_library_and_for_ask_one_with_a_mailbox() -> None:
    peers = [
        PeerProcess(a_peer("slow", distribution="slow")),
        PeerProcess(a_peer("fast", distribution="fast")),
        PeerProcess(a_peer("inline", distribution="inline", has_mailbox=False)),
        PeerProcess(a_peer("raw")),
        PeerProcess(a_peer("gone", distribution="gone")),
    ]
    rates = {"slow": [1.0, 99.0, 1.0], "fast": [2.0, 2.0, 2.0], "inline": [3.0] * 3, "raw": [4.0] * 3, "gone": []}
    best = actors.best_peer("tell", peers, rates), actors.best_peer("ask", peers, rates)
    assert [peer and peer.peer.script for peer in best] == ["inline", "fast"]
    assert actors.best_peer("ask", peers[3:], rates) is None


async def test_without_any_peer_the_goals_beside_them_are_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "TELLS", 2_000)
    monkeypatch.setattr(actors, "ASKS", 200)
    peer = PeerProcess(a_peer("thespian", distribution="thespian", has_mailbox=False))
    peer.start(ROOT / "nowhere")
    rows = {row.name: row for row in await actors.beside_peers(Options(quick=True), [peer])}
    missed = [rows[name] for name in ("tell beside the best peer", "ask beside the best peer with a mailbox")]
    assert [(row.met, row.reference) for row in missed] == [(False, HOW_TO_INSTALL)] * 2
    assert rows["ask beside Thespian"].reference == f"Thespian: {HOW_TO_INSTALL}"


def test_each_peer_has_its_script_its_pins_and_its_place_in_the_makefile() -> None:
    scripts = {path.stem for path in SCRIPTS.glob("*.py")} - {"__init__", "rounds", "processes"}
    assert scripts == {peer.script for peer in PEERS}
    installed = {peer.distribution for peer in PEERS if peer.distribution}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.search(r"^PEER_NAMES := (.*)$", makefile, re.MULTILINE)
    assert named is not None
    assert set(named[1].split()) == installed
    pins = (ROOT / "benchmarks" / "peers.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line)] == []
    assert installed <= {line.partition("==")[0].lower() for line in pins}


def test_the_goals_beside_single_peers_are_those_of_peers_that_there_are() -> None:
    titles = {f"{measure} beside {peer.title}" for peer in PEERS for measure in ("tell", "ask")}
    beside = {name for name in actors.GOALS if " beside " in name and "best" not in name}
    assert beside <= titles


async def test_the_messages_that_are_measured_carry_context() -> None:
    assert await messages.context_is_carried()
