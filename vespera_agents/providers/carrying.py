"""A whole task on its way to whoever carries it out: the place, the money and the end of it in order.

Not the choice of who does, which is the owner's word. Neighbours: `asking` is one attempt at anything, `models` offers
this, `whole_tasks` has the words.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from vespera_agents.providers.asking import Attempt
from vespera_agents.providers.errors import ProviderError
from vespera_agents.providers.whole_tasks import ActsAlone, Carried, WholeTask, WorkFacts

__all__ = ["carry"]


async def carry(attempt: Attempt, whole: WholeTask) -> Carried:
    """Have a whole task carried out within an attempt that was entered.

    Cancelled or failed: what it told to have cost is written down; what it did not tell stays set aside.

    Raises:
        ProviderError: as `ActsAlone.carry_out`.
    """
    provider = cast("ActsAlone", attempt.provider)
    heard: list[WorkFacts] = []
    done = False
    try:
        carried = await provider.carry_out(replace(whole, model=attempt.request.model), heard.append)
        completion = await attempt.answered(carried.completion)
        done = True
        return replace(carried, completion=completion)
    except ProviderError as error:
        await attempt.failed(error, begun=bool(heard))
        raise
    finally:
        last = heard[-1] if heard else None
        if not done and last is not None and last.cost_usd is not None:
            await attempt.cost(last.usage, last.cost_usd)
