"""`vespera serve --http`: real server processes, the SDK's own client in both eras."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from tests.serving.kit import ERAS, Place, http_client, http_server, new_place, refuse, succeed


@pytest.fixture(name="place")
def a_place() -> Iterator[Place]:
    with new_place() as found:
        yield found


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_is_served_over_http(place: Place, era: str) -> None:
    async with http_server(place) as server:
        assert server.url.startswith("http://127.0.0.1:")
        async with http_client(server.url, era) as client:
            session = await succeed(client, "orchestrator_initialize_session", name="Over HTTP")
            await refuse(client, "orchestrator_get_status", "not_found", session="nope")
        assert place.rows("SELECT id FROM session") == [(session["id"],)]
        with trio.fail_after(10):
            assert await server.end() == 0
        assert server.errors == []
