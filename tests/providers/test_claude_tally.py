"""What Claude Code tells, message by message: what is believed, what is counted once, what a failure means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vespera_agents.providers.claude_code.command_line import arguments, environment_of, known_tools, permissions
from vespera_agents.providers.claude_code.endings import WrongWay, carried, failure
from vespera_agents.providers.claude_code.settings import credential_name
from vespera_agents.providers.claude_code.tally import Tally
from vespera_agents.providers.errors import (
    AccessDenied,
    BadRequest,
    ContextTooLong,
    MalformedAnswer,
    RateLimited,
    Unavailable,
)
from vespera_agents.providers.exchange import Finish, Usage
from vespera_agents.providers.whole_tasks import Ended, WholeTask

RUN = "11111111-2222-3333-4444-555555555555"


def assistant(identifier: str, output: int, text: str = "", **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": output, "cache_read_input_tokens": 5}
    content = [{"type": "text", "text": text}]
    return {
        "type": "assistant",
        "message": {"id": identifier, "model": "m", "content": content, "usage": usage},
        **more,
    }


def result(subtype: str = "success", **more: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": subtype, "session_id": RUN, "num_turns": 1, **more}


def test_blocks_of_one_message_are_one_use():
    tally = Tally(RUN)
    for output in (3, 7, 7):
        tally.take(assistant("a", output))
    tally.take(assistant("b", 1))
    assert tally.facts().usage == Usage(30, 8, 10, 0, estimated=True)
    assert tally.facts().turns == 2


def test_the_last_result_has_the_cost_of_all_and_unknown_messages_are_passed_over():
    tally = Tally(RUN)
    used = {"m": {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 4}, "n": {"outputTokens": 8}}
    for message in [{}, {"type": 7}, {"type": "rate_limit_event"}, {"type": "assistant", "message": "?"}]:
        tally.take(message)
    denied = [{"tool_name": "Bash", "tool_use_id": "t1", "tool_input": {"command": "x" * 500}}]
    tally.take(result(total_cost_usd=0.25, result="one", permission_denials=denied))
    tally.take(result(total_cost_usd=0.75, result="two", modelUsage=used, permission_denials=denied))
    facts = tally.facts()
    assert (facts.cost_usd, facts.usage, facts.turns) == (0.75, Usage(5, 10, 4, 0), 2)
    assert [len(denial.about) for denial in facts.denials] == [200]
    assert carried("c", WholeTask("n", RUN, "", Path("/")), tally).completion.text == "two"


@pytest.mark.parametrize("cost", [-1, float("nan"), float("inf"), "1", True, None])
def test_a_cost_that_is_none_is_not_known(cost):
    tally = Tally(RUN)
    tally.take(result(total_cost_usd=cost))
    assert tally.facts().cost_usd is None


@pytest.mark.parametrize(
    ("messages", "wanted"),
    [
        ([assistant("a", 1, error="authentication_failed"), result(is_error=True)], AccessDenied),
        ([result(is_error=True, result="API Error: 401 no")], AccessDenied),
        ([assistant("a", 1, error="billing_error"), result(is_error=True)], AccessDenied),
        ([assistant("a", 1, error="rate_limit"), result(is_error=True)], RateLimited),
        ([result(is_error=True, result="API Error: 429 slow down")], RateLimited),
        ([assistant("a", 1, error="invalid_request"), result(is_error=True)], BadRequest),
        ([result(is_error=True, result="Prompt is too long")], ContextTooLong),
        ([result(is_error=True, result="API Error: 529 overloaded")], Unavailable),
        ([result("error_during_execution")], Unavailable),
        ([assistant("a", 1, error="server_error"), result()], type(None)),
        ([result("error_max_turns", is_error=True)], type(None)),
    ],
)
def test_failures_it_tells_are_errors_of_the_exchange(messages, wanted):
    tally = Tally(RUN)
    for message in messages:
        tally.take(message)
    assert type(failure("c", tally, 0, [], 0)) is wanted


@pytest.mark.parametrize(
    ("status", "errors", "broken", "wanted"),
    [
        (1, [b"Error: Session ID x is already in use."], 0, WrongWay),
        (1, [b"No conversation found with session ID: x"], 0, WrongWay),
        (1, [b"Invalid API key", b"Please run /login"], 0, AccessDenied),
        (0, [], 2, MalformedAnswer),
        (-9, [], 0, Unavailable),
        (0, [], 0, Unavailable),
    ],
)
def test_an_end_without_a_result_is_told_by_what_is_left(status, errors, broken, wanted):
    ended = failure("c", Tally(RUN), status, errors, broken)
    assert type(ended) is wanted
    assert "Session" not in str(ended), "no message repeats what the program said"


def test_a_run_that_was_asked_to_stop_is_interrupted_not_failed():
    tally = Tally(RUN)
    tally.interrupting = True
    tally.take(result("error_during_execution", is_error=True, total_cost_usd=0.5))
    assert failure("c", tally, 0, [], 0) is None
    done = carried("c", WholeTask("n", RUN, "", Path("/")), tally)
    assert (done.facts.ended, done.completion.finish) == (Ended.INTERRUPTED, Finish.LENGTH)


def test_a_model_that_does_not_want_to_is_no_error():
    tally = Tally(RUN)
    tally.take(result(stop_reason="refusal"))
    assert failure("c", tally, 0, [], 0) is None
    assert carried("c", WholeTask("n", RUN, "", Path("/")), tally).completion.finish is Finish.REFUSED


def test_only_what_the_role_allows_is_allowed():
    assert known_tools(()) == permissions((), ("git diff",)) == ()
    reads = ("search", "list_files", "unknown")
    assert (known_tools(reads), permissions(reads, ("git diff",))) == (("Grep", "Glob", "LS"), ("Read(./**)",))
    edits = ("read_file", "edit_file", "write_file")
    assert known_tools(edits) == ("Read", "Edit", "MultiEdit", "Write")
    assert permissions(edits, ()) == ("Read(./**)", "Edit(./**)")
    assert known_tools(("run_command",)) == ("Bash",)
    commands = ("git  diff", "pytest -q", "", "*", "a) Bash(rm", "x,y", "echo 'a b'")
    assert permissions(("run_command",), commands) == ("Bash(git diff:*)", "Bash(pytest -q:*)", "Bash(echo 'a b':*)")


def test_its_arguments_isolate_it_and_hold_no_text_of_the_task():
    whole_task = WholeTask("n", RUN, "SECRET TASK", Path("/copy"), system="SECRET ROLE", spend_usd_max=0.5, turns_max=7)
    given = arguments(whole_task, resume=False, context_tokens_max=9, partial=False, system_file=Path("/role.md"))
    assert "SECRET" not in " ".join(given)
    assert given[given.index("--session-id") + 1] == RUN
    assert given[given.index("--max-budget-usd") + 1] == "0.400000"
    assert given[given.index("--permission-mode") + 1] == "dontAsk"
    assert {"--strict-mcp-config", "--setting-sources=", "--verbose"} <= set(given)
    assert given[-2:] == ["--tools", ""]
    again = arguments(whole_task, resume=True, context_tokens_max=9, partial=True, system_file=None)
    assert again[again.index("--resume") + 1] == RUN
    assert "--session-id" not in again


def test_its_environment_is_what_is_named():
    base = {"PATH": "/bin", "HOME": "/place", "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "other", "HTTPS_PROXY": "p"}
    made = environment_of(
        base, config=Path("/c"), named=("HTTPS_PROXY", "ABSENT"), credential={"ANTHROPIC_API_KEY": "k2"}
    )
    assert made["ANTHROPIC_API_KEY"] == "k2"
    assert made["CLAUDE_CONFIG_DIR"] == "/c"
    assert {name for name in made if name in base} == {"PATH", "HOME", "ANTHROPIC_API_KEY", "HTTPS_PROXY"}
    assert credential_name("CLAUDE_CODE_OAUTH_TOKEN") == "CLAUDE_CODE_OAUTH_TOKEN"
    assert credential_name("MY_KEY") == credential_name(None) == "ANTHROPIC_API_KEY"
