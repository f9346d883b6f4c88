"""An asyncio web application (FastAPI would look the same) that holds an actor system and asks it in its endpoints."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.routing import Route

from vespera_agents.actors import Actor, Request, receives
from vespera_agents.actors.embedding.asyncio_host import open_system_from_asyncio


@dataclass(frozen=True)
class Add(Request[int]):
    """Add to the total, and say what it is now."""

    amount: int


class Total(Actor):
    """Keeps a total. Whatever comes in at once, it adds one after the other."""

    value = 0

    @receives
    def add(self, message: Add) -> int:
        """Add."""
        self.value += message.amount
        return self.value


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None, None]:
    async with open_system_from_asyncio() as app.state.host:
        app.state.total = await app.state.host.start(Total)
        yield


async def add(request: HttpRequest) -> JSONResponse:
    amount = int(request.path_params["amount"])
    return JSONResponse({"total": await request.app.state.host.ask(request.app.state.total, Add(amount))})


app = Starlette(routes=[Route("/add/{amount:int}", add, methods=["POST"])], lifespan=lifespan)


async def main() -> None:
    # Without a server and a network: open the application, and be its clients.
    transport = httpx2.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url="http://a") as client:
        answers = await asyncio.gather(*(client.post("/add/1") for _ in range(100)))
        print("the last total:", max(answer.json()["total"] for answer in answers))


asyncio.run(main())
