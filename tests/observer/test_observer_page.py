"""The page of the observer in a real browser, on a real server: for mice, for keys alone, for screen readers.

The walks are in `walks.mjs`. Each also fails when the page complains to its console.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.observer.theatre import MISSING, browser, front_server, observing, stage
from tests.serving.kit import new_place

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

HOSTILE = (
    "<script>window.touched=1</script>",
    '"quoted" \'name\' `here` &amp; <img src=x onerror="window.touched=2">',
    "two\nlines\tand a tab",
    "long" * 2_500,
    "\u202eright to left",
    "\u05e9\u05dc\u05d5\u05dd",
    "\U0001f9d1\u200d\U0001f680 \U0001f525",
)
TOKEN = "a" * 32
PLAN = f"""---
id: DINNER
---
# Dinner

### lay the table
{"A plate, a fork and a knife for each. " * 100}
```yaml
run: "true"
```

### eat
```yaml
depends: [lay the table]
```

### wash up <b>bold</b>
```yaml
depends: [eat]
```
"""


async def test_people_see_what_happens_in_a_server_and_lose_nothing_when_it_restarts() -> None:
    async with stage() as server, browser(f"http://127.0.0.1:{server.port}/observer/") as one:
        await server.act("enter", "alice", "bob", "carol", "dave")
        await server.act("plan", PLAN)
        await one.walk("tree")
        await one.walk("actors", server.act)
        await one.walk("oneActor", server.act)
        await one.walk("restart", server.act)
        await one.walk("tasks")
        await server.act("enter", "carla")
        await one.walk("blockedLoop", server.act)
        await one.walk("keyboard")
        await one.walk("accessible", still=True)
        await one.walk("accessible", phone=True, dark=True, still=True)
        await server.act("enter", *HOSTILE)
        await one.walk("hostile", names=HOSTILE)
        await one.walk("reconnects", server.act, breaks=True)
        print(one.took)


async def test_ten_thousand_actors_stay_usable(capsys: pytest.CaptureFixture[str]) -> None:
    async with stage() as server, browser(f"http://127.0.0.1:{server.port}/observer/") as one:
        await server.act("crowd", 10_000)
        await server.act("bustle", 0.1)
        told = await one.walk("crowd")
    with capsys.disabled():
        print(f"\n10,000 actors, 1,000 of them busy, in the observer's page: {told}")
    # Rows exist for what is in sight only.
    assert told["elements"] < 3_000


async def test_the_page_goes_on_when_the_front_replaces_a_worker_also_over_the_private_socket() -> None:
    with new_place() as place:
        async with front_server(place) as server, browser(server.url.removesuffix("mcp") + "observer/") as one:
            await one.walk("nextWorker", kill, breaks=True, told="worker 2, 1 crash")
            async with observing(place) as url:
                await one.walk("nextWorker", kill, url=url, breaks=True, told="worker 3, 2 crashes")
            assert await server.end() == 0


async def test_a_token_in_the_form_opens_the_page() -> None:
    with new_place() as place:
        tokens = place.root / "tokens"
        tokens.write_text(f"alice:{TOKEN}\n")
        tokens.chmod(0o600)
        async with front_server(place, "--token-file", str(tokens)) as server:
            async with browser(server.url.removesuffix("mcp") + "observer/") as one:
                await one.walk("signsIn", token=TOKEN)
            assert await server.end() == 0


async def kill(what: str, pid: int) -> None:
    """Kill the worker that the page names."""
    assert what == "kill"
    os.kill(pid, signal.SIGKILL)
