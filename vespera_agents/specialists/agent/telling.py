"""What came of a piece of work, told in prose by a specialist: a few paragraphs in front of the gathered results.

What is gathered is exact and stays whole; the prose is for who reads no tables. Where no model is there, it is missing.
Neighbours: `synthesis` gathers, `specialist` is who writes, `work_tools` and `running` keep the text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import trio

from vespera_agents.actors import ActorError
from vespera_agents.providers.exchange import Completion, Need
from vespera_agents.specialists.agent.prose import SECONDS_MAX
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.specialists.specialist import WriteProse
from vespera_agents.specialists.synthesis import Synthesis, WorkRows, synthesize
from vespera_agents.store.steps import ModelWork
from vespera_agents.work.plain import printable

__all__ = ["told_in_prose"]

WRITER: Final = "coordinator"
"""The role that tells what came of work."""
_TEXT_MAX: Final = 12_000


async def told_in_prose(opened: OpenWorkspace, session_id: str, rows: WorkRows, purpose: str) -> Synthesis:
    """Gather what came of work, with a specialist's prose in front; without it where no model is there or could answer.

    Args:
        opened: where.
        session_id: whose work.
        rows: what is gathered.
        purpose: names the wish, the same when it is repeated.
    """
    gathered = await trio.to_thread.run_sync(synthesize, rows)
    models = opened.model_source.usable(session_id)
    if models is None:
        return gathered
    role = opened.role(WRITER)
    context_tokens = len(gathered.text.encode()) // 3
    need = Need(purpose, session_id=session_id, role=role.name, model=role.model, context_tokens=context_tokens)
    try:
        live = await opened.session(session_id)
        async with live.borrow(role) as specialist:
            message = WriteProse(gathered.text, models, need)
            answer = await specialist.ask(message, timeout_seconds=SECONDS_MAX + 10.0)
    except ActorError:
        return gathered
    if answer is None:
        return gathered
    paid = replace(rows, models=(*rows.models, _work_of(answer)))
    return _with_prose(await trio.to_thread.run_sync(synthesize, paid), answer.text.strip()[:_TEXT_MAX])


def _with_prose(gathered: Synthesis, prose: str) -> Synthesis:
    """Put the prose behind the title of what was gathered."""
    title, _, rest = gathered.text.partition("\n\n")
    told = "\n\n".join(printable(part) for part in prose.split("\n\n"))
    return replace(gathered, text=f"{title}\n\n{told}\n\n{rest}")


def _work_of(answer: Completion) -> ModelWork:
    """Say what the prose itself took: it is a part of what it tells of."""
    usage = answer.usage
    return ModelWork(
        "this text",
        answer.provider,
        answer.model,
        1,
        0,
        usage.input_tokens,
        usage.output_tokens,
        answer.cost_usd,
        int(answer.cost_usd is None),
    )
