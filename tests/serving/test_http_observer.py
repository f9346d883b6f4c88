"""The observer over HTTP: who may come in, what every answer forbids, and a stream that outlives workers.

The door is in this process, with a front and without one; the feed behind it is a real one.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
import trio

from tests.health.observing import fed_runtime
from tests.serving.http_kit import BEHIND, Opened, open_door, raw, status_of
from vespera_agents.front.http.passes import (
    COOKIE_SECONDS,
    ENTER,
    FORM_BYTES_MAX,
    OBSERVER,
    ONCE_MAX,
    ONCE_SECONDS,
    Passes,
)
from vespera_agents.health import Health
from vespera_agents.health.observer.app import POLICY, ObserverApp
from vespera_agents.health.observer.local import LocalSource

ALICE = "a" * 32
API = f"{OBSERVER}/api"
PATHS = (
    OBSERVER, f"{OBSERVER}/", f"{OBSERVER}/app.js", f"{API}/snapshot", f"{API}/events", f"{API}/actor?key=1",
    f"{API}/stacks", f"{API}/session?id=s", f"{API}/nothing",
)  # fmt: skip


@pytest.fixture(autouse=True, params=[False, True], ids=["in process", "behind a front"])
def _both(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds with a front and without one."""
    token = BEHIND.set(request.param)
    yield
    BEHIND.reset(token)


def token_file(place: Path) -> Path:
    path = place / "tokens"
    path.write_text(f"alice:{ALICE}\n")
    path.chmod(0o600)
    return path


@asynccontextmanager
async def observed(place: Path, **wish: Any) -> AsyncGenerator[tuple[Opened, httpx2.AsyncClient, Health]]:
    """Serve the observer of a real tree; the client is a program, not a browser."""
    async with fed_runtime(place) as (_, health):
        app = ObserverApp(LocalSource(health))
        async with open_door(place, pages={OBSERVER: app}, **wish) as opened:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{opened.port}", timeout=20) as client:
                yield opened, client, health
            app.stop()


async def first_lines(client: httpx2.AsyncClient, count: int, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with client.stream("GET", f"{API}/events", **options) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["content-security-policy"] == POLICY
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("id: "):
                name = line[4:]
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
                assert name == f"{found[-1]['life']}/{found[-1]['seq']}"
                if len(found) == count:
                    break
    return found


async def test_the_page_and_the_feed_are_served_and_nothing_else(tmp_path: Path) -> None:
    async with observed(tmp_path) as (_, client, health):
        page = await client.get(f"{OBSERVER}/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        for found in re.findall(r'(?:src|href)="([a-zA-Z/.]+)"', page.text):
            part = await client.get(f"{OBSERVER}/{found}")
            assert part.status_code == 200, found
            assert part.headers["content-type"].split(";")[0] in {"text/javascript", "text/css"}
        assert (await client.get(OBSERVER)).headers["location"] == f"{OBSERVER}/"
        picture = (await client.get(f"{API}/snapshot")).json()
        assert picture["v"] == 1
        told = await first_lines(client, 3)
        assert [one["seq"] for one in told] == list(range(told[0]["seq"], told[0]["seq"] + 3))
        (missed,) = await first_lines(client, 1, headers={"last-event-id": f"{told[0]['life']}/{told[0]['seq']}"})
        assert (missed["seq"], "v" in missed) == (told[1]["seq"], False)
        key = next(row[0] for row in told[0]["tree"]["rows"] if row[2] == "feed")
        assert (await client.get(f"{API}/actor", params={"key": key})).json()["name"] == "feed"
        assert (await client.get(f"{API}/stacks")).json()["actors"] == []
        for nowhere in (
            f"{API}/actor", f"{API}/actor?key=99999", f"{API}/actor?key=1e3", f"{API}/actor?key={'9' * 400}",
            f"{API}/session?id=x", f"{API}/nothing", f"{API}/", f"{OBSERVER}/../mcp", f"{OBSERVER}/%2e%2e/feed.py",
            f"{OBSERVER}/page/app.js", f"{OBSERVER}/__init__.py", f"{OBSERVER}//etc/passwd", f"{OBSERVER}/vendor",
        ):  # fmt: skip
            answer = await client.get(nowhere)
            assert answer.status_code in {400, 404}, nowhere
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert (await client.request(method, f"{API}/snapshot")).status_code == 405
        assert (await client.head(f"{API}/snapshot")).content == b""
        assert health.feed.statistics().viewers == 0, "whoever hung up is not counted any more"


async def test_every_answer_forbids_what_a_browser_could_do_with_it(tmp_path: Path) -> None:
    async with observed(tmp_path) as (_, client, _):
        for path in (*PATHS[:3], f"{API}/snapshot", f"{API}/stacks", f"{API}/nothing"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"] == POLICY
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "set-cookie" not in headers, "without a token there is no cookie either"
            assert "access-control-allow-origin" not in headers
    assert "'unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'")


async def test_another_host_origin_or_site_gets_nothing(tmp_path: Path) -> None:
    async with observed(tmp_path) as (opened, client, _):
        own = f"http://127.0.0.1:{opened.port}"
        foreign = (
            ({"host": "rebound.example.com"}, 421),
            ({"host": f"rebound.example.com:{opened.port}"}, 421),
            ({"origin": "https://evil.example.com"}, 403),
            ({"origin": "http://127.0.0.1:1"}, 403),
            ({"origin": f"http://localhost:{opened.port}"}, 403),
            ({"origin": "null"}, 403),
            ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}, 403),
            ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, 403),
            ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        )
        for path in PATHS:
            for headers, status in foreign:
                answer = await client.get(path, headers=headers)
                assert answer.status_code == status, headers
                assert b'"tree"' not in answer.content
            if path != f"{API}/events":
                ours = {
                    "origin": own,
                    "sec-fetch-site": "same-origin",
                    "sec-fetch-mode": "cors",
                    "sec-fetch-dest": "empty",
                }
                assert (await client.get(path, headers=ours)).status_code in {200, 308, 404}
            opening = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
            answer = await client.get(path, headers=opening)
            assert answer.status_code == {OBSERVER: 308, f"{OBSERVER}/": 200}.get(path, 403), "a link may open the page"


async def test_without_a_token_nothing_is_served(tmp_path: Path) -> None:
    async with observed(tmp_path, token_file=token_file(tmp_path)) as (_, client, _):
        for path in PATHS:
            for headers in (
                {},
                {"authorization": "Bearer " + "b" * 32},
                {"authorization": ALICE},
                {"cookie": f"vespera_observer_00000000=alice.9999999999.{'0' * 64}"},
            ):
                answer = await client.get(path, headers=headers)
                assert answer.status_code == 401, headers
                assert len(answer.content) < 400
            assert (await client.get(f"{path}{'&' if '?' in path else '?'}token={ALICE}")).status_code == 401
            browser = await client.get(path, headers={"accept": "text/html"})
            assert (browser.status_code, browser.headers["location"]) == (303, ENTER)
            if path != f"{API}/events":
                let_in = await client.get(path, headers={"authorization": f"Bearer {ALICE}"})
                assert let_in.status_code in {200, 308, 404}


async def test_a_browser_shows_its_token_once_and_has_a_cookie_that_only_our_page_can_use(tmp_path: Path) -> None:
    async with observed(tmp_path, token_file=token_file(tmp_path)) as (opened, client, _):
        own = {"origin": f"http://127.0.0.1:{opened.port}"}
        form = await client.get(ENTER)
        assert form.status_code == 200
        assert 'type="password"' in form.text
        assert form.headers["content-security-policy"].startswith("default-src 'none'")
        assert form.headers["referrer-policy"] == "same-origin", "with no-referrer browsers send the form as nobody's"
        assert "script" not in form.text
        wrong = await client.post(ENTER, data={"token": "b" * 32}, headers=own)
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
        assert (
            await client.post(ENTER, data={"token": ALICE}, headers={"origin": "http://evil.example"})
        ).status_code == 403
        entered = await client.post(ENTER, data={"token": ALICE}, headers=own)
        assert (entered.status_code, entered.headers["location"]) == (303, f"{OBSERVER}/")
        cookie = entered.headers["set-cookie"]
        name, _, rest = cookie.partition("=")
        attributes = {part.strip() for part in rest.split(";")[1:]}
        assert attributes == {f"Path={OBSERVER}", f"Max-Age={COOKIE_SECONDS}", "HttpOnly", "SameSite=Strict"}
        assert ALICE not in cookie
        value = rest.partition(";")[0]
        client.cookies.clear()
        assert (await client.get(f"{API}/snapshot", headers={"cookie": f"{name}={value}"})).status_code == 200
        principal, until, seal = value.rsplit(".", 2)
        later = f"{principal}.{int(until) + 1}.{seal}"
        bob = f"bob.{until}.{seal}"
        for forged in (later, bob, f"{principal}.{until}.{'0' * 64}", f"{principal}.{until}.", principal, ""):
            answer = await client.get(f"{API}/snapshot", headers={"cookie": f"{name}={forged}"})
            assert answer.status_code == 401, forged
        evil = {"cookie": f"{name}={value}", "origin": "http://evil.example"}
        assert (await client.get(f"{API}/snapshot", headers=evil)).status_code == 403
        mcp = await client.post("/mcp", headers={"cookie": f"{name}={value}"}, json={})
        assert mcp.status_code == 401, "the cookie opens the observer alone"


async def test_who_has_shown_no_token_fills_no_room_with_bodies(tmp_path: Path) -> None:
    async with observed(tmp_path, token_file=token_file(tmp_path)) as (_, client, _):
        fits = await client.post(ENTER, content=b"token=".ljust(FORM_BYTES_MAX, b"x"))
        assert fits.status_code == 401
        for method, path in (("POST", ENTER), ("GET", "/livez"), ("POST", "/readyz")):
            much = await client.request(method, path, content=b"x" * (FORM_BYTES_MAX + 1))
            assert much.status_code == 413, path


async def test_an_address_lets_one_browser_in_once(tmp_path: Path) -> None:
    async with observed(tmp_path, token_file=token_file(tmp_path)) as (opened, client, _):
        entrance = opened.listening.entrance
        assert entrance is not None
        address = f"{ENTER}?once={entrance.passes.once('alice')}"
        assert (await client.head(f"{ENTER}?once=wrong")).status_code == 401
        first = await client.get(address)
        assert first.status_code == 303
        client.cookies.clear()
        again = await client.get(address)
        assert (again.status_code, "set-cookie" in again.headers) == (401, False)


async def test_without_tokens_there_is_nothing_to_enter(tmp_path: Path) -> None:
    async with observed(tmp_path) as (_, client, _):
        answer = await client.get(ENTER)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{OBSERVER}/")


async def test_a_stream_goes_on_at_the_next_worker_and_ends_with_the_server(tmp_path: Path) -> None:
    async with observed(tmp_path) as (opened, client, _):
        told: list[int] = []
        async with client.stream("GET", f"{API}/events") as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    told.append(json.loads(line[6:])["seq"])
                if len(told) == 2 and opened.front is not None and opened.generation == 1:
                    await opened.replace()
                if len(told) == 4:
                    break
        assert told == list(range(told[0], told[0] + 4)), "no change is missed, and none is told twice"
        begun, ended = trio.Event(), trio.Event()

        async def watch() -> None:
            async with client.stream("GET", f"{API}/events") as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        begun.set()
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            with trio.fail_after(20):
                await begun.wait()
                cast("ObserverApp", opened.pages[OBSERVER]).stop()
                await ended.wait()


async def test_a_hostile_query_or_head_is_refused(tmp_path: Path) -> None:
    async with observed(tmp_path) as (opened, _, _):
        for target in (
            b"/observer/api/actor?" + b"&".join([b"key=1"] * 100),
            b"/observer/api/session?id=" + b"x" * 9_000,
        ):
            head = b"GET %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % target
            assert status_of(await raw(opened.port, head)) == 404


def test_words_for_one_use_and_cookies_end() -> None:
    now = [1_000.0]
    passes = Passes(clock=lambda: now[0])
    words = [passes.once(f"p{number}") for number in range(ONCE_MAX + 1)]
    assert passes.redeem(words[0]) is None, "there are no more than so many"
    assert passes.redeem(words[1]) == "p1"
    assert passes.redeem(words[1]) is None
    cookie = passes.cookie("al.ice@x", encrypted=True).decode()
    assert cookie.endswith("; Secure")
    pair = cookie.partition(";")[0]
    assert passes.principal(f"other=1; {pair}; more=2") == "al.ice@x"
    assert Passes().principal(pair) is None, "another process knows nothing of it"
    now[0] += ONCE_SECONDS + 1
    assert passes.redeem(words[2]) is None
    now[0] += COOKIE_SECONDS
    assert passes.principal(pair) is None
