"""The corpus of attacks: each with a name, the calls that carry it, and what must come of it.

Not a test: `test_attacks.py` carries them out over each transport, on the ground that `attack_ground.py` lays.
`{outside}` stands for a directory beside the project, `@name` for a task of the world.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

REFUSED = "refused"
"""Every call of it is refused in the one shape, and nothing anywhere has changed."""
HARMLESS = "harmless"
"""It may succeed, but it is only text to us: nothing outside `.vespera` changes, no other rows than its own."""
Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Attack:
    """One attack."""

    name: str
    steps: tuple[Step, ...]
    """Tools and their arguments; or `prompts/get`, `resources/read` and `completion/complete` with their parameters."""
    outcome: str
    never: tuple[str, ...] = ()
    """What no answer may show."""


PATHS: dict[str, str] = {
    "dot-dot": "../outside/secret.txt",
    "many dot-dots": "../" * 40 + "etc/passwd",
    "dot-dot in the middle": "inner/../../outside/secret.txt",
    "dot-dot behind a file": "notes.txt/../../outside/secret.txt",
    "dot-dot behind a dot": "./../outside/secret.txt",
    "absolute": "{outside}/secret.txt",
    "absolute, the system's": "/etc/passwd",
    "two slashes": "//etc/passwd",
    "backslashes": "..\\outside\\secret.txt",
    "mixed slashes": "..\\/outside/secret.txt",
    "encoded dots": "%2e%2e/outside/secret.txt",
    "encoded slash": "..%2foutside%2fsecret.txt",
    "twice encoded": "%252e%252e%252foutside",
    "overlong UTF-8 as text": "..\u00c0\u00af..\u00c0\u00afetc",
    "full-width dots": "\uff0e\uff0e/outside/secret.txt",
    "one character of two dots": "\u2025/outside/secret.txt",
    "full-width slash": "..\uff0foutside\uff0fsecret.txt",
    "zero-width space": "..\u200b/outside/secret.txt",
    "trailing dots": "notes.txt...",
    "a link to a file": "link_file",
    "a link to a directory": "link_dir/secret.txt",
    "a link in a subdirectory": "inner/up/secret.txt",
    "a link to the system": "link_etc/passwd",
    "a link to nothing": "dangling",
    "a link to itself": "loop",
    "behind a link to itself": "loop/x",
    "links that lead to each other": "ping/x",
    "its own environment": "/proc/self/environ",
    "its own root": "/proc/self/root/etc/passwd",
    "an open file of its": "/proc/self/fd/0",
    "a link to its environment": "link_environ",
    "endless": "/dev/zero",
    "a link to what is endless": "link_zero",
    "standard input": "/dev/stdin",
    "a pipe": "fifo",
    "a socket": "socket",
    "a directory": "inner",
    "the project itself": ".",
    "nothing": "",
    "blanks": "   ",
    "NUL": "notes.txt\0.md",
    "NUL at the end": "notes.txt\0",
    "an overlong component": "a" * 300,
    "an overlong path": "a/" * 3_000 + "x",
    "a home": "~/secret.txt",
    "another's home": "~root/.profile",
    "a variable": "$HOME/secret.txt",
    "a URI": "file:///etc/passwd",
    "a reserved name": "CON",
    "a device of another system": "\\\\.\\C:\\secret.txt",
    "a network share": "\\\\host\\share\\secret.txt",
    "a stream of a file": "notes.txt:stream",
    "a line break": "notes.txt\n../outside/secret.txt",
    "a glob": "../outside/*",
    "an option": "--help",
}
DIRECTORIES: dict[str, str] = {
    "the root": "/",
    "the root, by dot-dots": "../" * 40,
    "the system's": "/etc",
    "below the system's": "/usr/lib",
    "by dot-dots": "../" * 40 + "etc",
    "two slashes": "//etc",
    "a link to the system": "link_etc",
    "processes": "/proc/self",
    "its own root": "/proc/self/root/etc",
    "devices": "/dev/shm",  # noqa: S108 - it must be refused
    "shared by all": "/tmp",  # noqa: S108 - as above
    "a home of homes": "/home",
    "a link to itself": "loop",
    "a file": "notes.txt",
    "a pipe": "fifo",
    "a socket": "socket",
    "nothing there": "../outside/nothing",
    "a link to nothing": "dangling",
    "encoded dots": "%2e%2e/outside",
    "full-width dots": "\uff0e\uff0e/outside",
    "our own directory": ".vespera",
    "below our own": ".vespera/artifacts",
    "NUL": "/etc\0/x",
    "overlong": "a" * 5_000,
    "an overlong component": "inner/" + "a" * 300,
    "a home that nobody has": "~nobody-at-all/x",
    "a URI": "file:///etc",
    "a trailing dot": "/etc/.",
}
IDS: dict[str, str] = {
    "a path": "../../../../etc/passwd",
    "an absolute path": "/etc/passwd",
    "encoded": "%2e%2e%2f%2e%2e",
    "a path behind a prefix": "task_/../../x",
    "NUL": "task_\0",
    "SQL": "' OR '1'='1",
    "SQL, a statement": "x'; DROP TABLE task; --",
    "SQL, a union": "' UNION SELECT sha256 FROM artifact --",
    "a wildcard": "%",
    "a pattern": "task_*",
    "any one letter": "task____________",
    "overlong": "t" * 10_000,
    "a format": "{0.__class__}",
    "control characters": "\x1b[2Jtask_\r\n",
}
SQL: dict[str, str] = {
    "a quote": "'",
    "always true": "' OR 1=1 --",
    "a statement": "x'); DELETE FROM task; --",
    "a comment": "x' /*",
    "a union": "' UNION SELECT name FROM sqlite_master --",
    "NUL": "x\0' OR 1=1",
    "another encoding's quote": "\u02bc OR 1=1",
    "attach": "'; ATTACH DATABASE '{outside}/new.db' AS x; --",
}
SEARCHES: dict[str, str] = {
    "a quote": '"',
    "an open phrase": '"one',
    "operators": "AND OR NOT",
    "a column": "title:One",
    "all columns": "{title description}: x",
    "near": "NEAR(one two, 3)",
    "brackets": "((((",
    "stars": "* ** a*b*",
    "a caret": "^one",
    "minus": "-one - --",
    "a plus": "one + two",
    "many words": "a* " * 3_000,
    "SQL": "x'; DROP TABLE task_words; --",
    "a command of the index": "rebuild",
    "NUL": "one\0two",
    "no words": "!!! ... ???",
}
TEMPLATES: dict[str, str] = {
    "braces": "{}{0}{x.__class__.__mro__}",
    "percents": "%s%n%x%(x)s",
    "dollars": "${HOME} $PATH $(id) `id`",
    "jinja": "{{7*7}}{% include '/etc/passwd' %}",
    "other templates": "#{7*7} <%= 7*7 %> [[${7*7}]]",
    "entities": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "YAML": "!!python/object/apply:os.system ['touch {outside}/made']",
    "a fence": "```\n# Not a heading of ours\n```",
    "Markdown": "[x](javascript:alert(1)) ![x](file:///etc/passwd) <script>alert(1)</script>",
    "a table": "| a | b |\n|---|---|\n# New",
    "ANSI": "\x1b[2J\x1b[31mred\x1b]0;title\x07\x1b]8;;http://evil\x07",
    "one-byte control": "\x9b31m\x90\x07\x08\x08\x7f",
    "right to left": "\u202egnp.exe\u2066",
    "line ends": "a\r\nb\u2028c\u0085d",
    "a log line": "x\n2026-01-01 00:00:00 ERROR forged",
    "a byte order": "\ufeff\ufffe",
}
GATES: dict[str, str] = {
    "another statement": "test -f notes.txt; touch {outside}/made",
    "and then": "test -f notes.txt && touch {outside}/made",
    "or else": "test -f nothing || touch {outside}/made",
    "a pipe": "test -f notes.txt | tee {outside}/made",
    "into a file": "test -f notes.txt > {outside}/made",
    "in the background": "test -f notes.txt & touch {outside}/made",
    "a command in it": "test -f $(touch {outside}/made)",
    "backquotes": "test -f `touch {outside}/made`",
    "a new line": "test -f notes.txt\ntouch {outside}/made",
    "a process": "test -f <(touch {outside}/made)",
}
UNTRUSTED: dict[str, tuple[str, bool]] = {
    "not allowed": ("touch {outside}/made", False),
    "an allowed word as a beginning only": ("testx -f notes.txt", False),
    "by its path": ("/usr/bin/test -f notes.txt", False),
    "a variable before it": ("X=1 test -f notes.txt", False),
    "a shell": ("sh -c 'touch {outside}/made'", False),
    "an allowed command for a shell": ("test -f notes.txt; touch {outside}/made", True),
    "env": ("env test -f notes.txt", False),
}
URIS: dict[str, str] = {
    "a path for an artifact": "vespera://artifact/../../etc/passwd",
    "encoded": "vespera://artifact/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "twice encoded": "vespera://artifact/%252e%252e/etc/passwd",
    "NUL": "vespera://artifact/%00",
    "no UTF-8": "vespera://role/%ff%fe",
    "a surrogate": "vespera://role/%ed%a0%80",
    "a role's path": "vespera://role/../../../etc/passwd",
    "a role's encoded path": "vespera://role/..%2f..%2fconfig",
    "a file": "file:///etc/passwd",
    "another scheme": "http://127.0.0.1/x",
    "another host": "vespera://evil.example/artifact/x",
    "a user": "vespera://x@artifact/00",
    "a port": "vespera://artifact:1/00",
    "a bad port": "vespera://artifact:99999999/00",
    "an open bracket": "vespera://[artifact/00",
    "a query": "vespera://session/@session?x=1",
    "a negative page": "vespera://artifact/@artifact?offset=-1",
    "a huge page": "vespera://artifact/@artifact?offset=" + "9" * 30,
    "a page of letters": "vespera://artifact/@artifact?limit=all",
    "digits of another script": "vespera://artifact/@artifact?offset=\u0661",
    "SQL": "vespera://task/'%20OR%20'1'='1",
    "a wildcard": "vespera://task/%25",
    "overlong": "vespera://task/" + "t" * 100_000,
}


def _tool(name: str, /, **arguments: Any) -> Step:
    return name, arguments


def _corpus() -> list[Attack]:
    found: list[Attack] = []

    def add(name: str, outcome: str, *steps: Step, never: tuple[str, ...] = ()) -> None:
        found.append(Attack(name, steps, outcome, never))

    work = {"task_id": "@mine", "summary": "x", "next_action": "complete"}
    for name, path in PATHS.items():
        add(f"path of a file: {name}", REFUSED, _tool("complete_task", **work, file_paths=[path, "notes.txt"]))
        add(f"path of a plan: {name}", REFUSED, _tool("plan_task", plan_path=path or " ", session="@session"))
    for name, path in DIRECTORIES.items():
        add(f"working directory: {name}", REFUSED, _tool("initialize_session", working_directory=path))
    for name, identifier in IDS.items():
        about = {"task_id": identifier, "session": "@session"}
        add(
            f"id of a task: {name}",
            REFUSED,
            _tool("execute_task", **about),
            _tool("update_task", **about, title="x"),
            _tool("cancel_task", **about, reason="x"),
            _tool("delete_task", **about, mode="delete", force=True),
            _tool("complete_task", **about, summary="x", next_action="complete"),
            _tool("plan_task", title="x", parent_task_id=identifier, session="@session"),
            _tool("plan_task", title="x", dependencies=[identifier], session="@session"),
        )
        add(
            f"id of a session: {name}",
            REFUSED,
            _tool("initialize_session", session_id=identifier),
            _tool("resume_session", session=identifier),
            _tool("query_tasks", session=identifier),
            _tool("synthesize_results", session=identifier),
            _tool("cleanup_sessions", which="all", dry_run=False, session=identifier),
            _tool("maintenance_coordinator", action="update_documentation", scope="session", session=identifier),
        )
        add(f"cursor: {name}", REFUSED, _tool("query_tasks", cursor=identifier, session="@session"),
            _tool("list_sessions", cursor=identifier))  # fmt: skip
    for name, text in SQL.items():
        add(f"SQL in texts: {name}", HARMLESS,
            _tool("plan_task", title=f"t {text}".replace("\0", ""), description=text, key=f"k {text}",
                  estimated_effort=text, session="@session"),
            _tool("update_task", task_id="@ready", description=text, specialist=text[:60], session="@session"),
            _tool("cancel_task", task_id="@blocked", reason=text, session="@session"))  # fmt: skip
        add(f"SQL in filters: {name}", HARMLESS,
            _tool("query_tasks", specialist=[text[:60]], created_after=text, session="@session"),
            _tool("query_tasks", text=text, session="@session"),
            _tool("query_tasks", specialist=[text[:60]], session="@session"))  # fmt: skip
    for name, text in SEARCHES.items():
        add(f"search: {name}", HARMLESS, _tool("query_tasks", text=text[:1_000], session="@session"))
    for name, text in TEMPLATES.items():
        add(
            f"template: {name}",
            HARMLESS,
            _tool("initialize_session", name=f"s {text}"[:60]),
            _tool("plan_task", title=f"t {text}", description=text, specialist=f"r{text}"[:60], session="@session"),
            _tool("execute_task", task_id="@ready", session="@session"),
            _tool(
                "complete_task",
                task_id="@ready",
                summary=text,
                detailed_work=text,
                next_action="complete",
                session="@session",
            ),
            _tool("synthesize_results", session="@session"),
            _tool("resume_session", session="@session"),
            _tool("maintenance_coordinator", action="prepare_handover", session="@session", scope="session"),
            _tool("maintenance_coordinator", action="update_documentation", session="@session", scope="session"),
            ("prompts/get", {"name": "plan_work", "arguments": {"goal": text, "session": "@session"}}),
            ("prompts/get", {"name": "hand_over_session", "arguments": {"to": text, "session": "@session"}}),
            never=("49}", "root:x:0", "uid="),
        )
    for name, command in GATES.items():
        add(f"gate with an allowed beginning: {name}", HARMLESS,
            _tool("update_task", task_id="@gated", gates=[command], session="@session"),
            _tool("complete_task", **{**work, "task_id": "@gated"}, session="@session"))  # fmt: skip
    for name, (command, shell) in UNTRUSTED.items():
        add(f"gate that may not run: {name}", HARMLESS,
            _tool("update_task", task_id="@locked", gates=[{"command": command, "shell": shell}], session="@session"),
            _tool("complete_task", **{**work, "task_id": "@locked"}, session="@session"),
            _tool("execute_task", task_id="@locked", mode="agent", session="@session"))  # fmt: skip
    for name, uri in URIS.items():
        add(f"address: {name}", REFUSED, ("resources/read", {"uri": uri}), never=("root:x:0",))
    for name, text in {**IDS, **TEMPLATES}.items():
        add(f"argument of a prompt: {name}", REFUSED,
            ("prompts/get", {"name": "execute_task", "arguments": {"task_id": text, "specialist": text}}),
            ("prompts/get", {"name": text, "arguments": {}}))  # fmt: skip
        add(f"completion: {name}", HARMLESS,
            ("completion/complete", {"ref": {"type": "ref/prompt", "name": "execute_task"},
                                     "argument": {"name": "task_id", "value": text}}),
            ("completion/complete", {"ref": {"type": "ref/resource", "uri": f"vespera://task/{text}"},
                                     "argument": {"name": text, "value": text}}))  # fmt: skip
    _add_numbers(add)
    return found


def _add_numbers(add: Any) -> None:
    deep: Any = {"title": "bottom"}
    for _ in range(60):
        deep = {"title": "deeper", "subtasks": [deep]}
    add("deeply nested breakdown", REFUSED, _tool("plan_task", subtasks=[deep], session="@session"))
    add("deeply nested text of a list", REFUSED, _tool("plan_task", title="x", gates="[" * 900 + "]" * 900))
    add("a text of brackets", REFUSED, _tool("query_tasks", status="[" * 100_000, session="@session"))
    add("too wide a breakdown", REFUSED, _tool("plan_task", subtasks=[{"title": "x"}] * 501, session="@session"))
    add("a huge text", REFUSED, _tool("plan_task", title="x", description="x" * 2_000_000, session="@session"))
    add("a surrogate in a list in a text", REFUSED, _tool("plan_task", title="x", gates='["\\ud800"]'))
    for number in (-1, 0, 201, 2**31, 2**63, 10**40, 1.5):
        add(f"a limit of {number}", REFUSED, _tool("query_tasks", limit=number, session="@session"))
    for number in (2**63, 10**40, -(10**40)):
        add(f"a version of {number}", REFUSED,
            _tool("update_task", task_id="@ready", title="x", expected_version=number, session="@session"))  # fmt: skip
    for days in (-1, 10**20, 2**63):
        add(f"{days} days", REFUSED, _tool("cleanup_sessions", which="old", older_than_days=days))
    for moment in ("0000-01-01", "99999-01-01", "2026-13-45", "1e400", "-1", "NaN", "9999-12-31T23:59:59-23:59:59"):
        add(f"a date of {moment}", HARMLESS, _tool("query_tasks", created_after=moment, session="@session"),
            _tool("update_task", task_id="@ready", due=moment, session="@session"))  # fmt: skip
    for seconds in (0, -1, 10**40, "inf", "nan"):
        add(f"a gate of {seconds} seconds", REFUSED,
            _tool("plan_task", title="x", gates=[{"command": "true", "timeout_seconds": seconds}]))  # fmt: skip


ATTACKS = _corpus()
