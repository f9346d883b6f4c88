"""The drill: `python -m grafana.drill`. It takes about twelve minutes, for the alerts look ten minutes back.

Five servers run side by side, each under one cause. The rules are the committed ones, with their own times; Prometheus
scrapes and evaluates them each second. Exit status 1 if an alert does not fire, or does not resolve.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Final

import trio

from grafana.drill.causes import CAUSES, Cause
from grafana.drill.timeline import Timeline
from grafana.private import PROGRAM, free_port, private_prometheus, ready

LIMIT_SECONDS: Final = 20 * 60.0
"""How long an alert may take from its cause to its end."""


async def drill(names: list[str]) -> Timeline:
    """Make the alerts of these names fire and resolve."""
    addresses = {name: f"127.0.0.1:{free_port()}" for name in names}
    with private_prometheus(list(addresses.values())) as prometheus:
        await ready(prometheus)
        timeline = Timeline(prometheus, addresses)
        async with trio.open_nursery() as watching:
            watching.start_soon(timeline.run)
            async with trio.open_nursery() as nursery:
                for name, address in addresses.items():
                    nursery.start_soon(_bounded, CAUSES[name], timeline, name, address)
            watching.cancel_scope.cancel()
    return timeline


async def _bounded(cause: Cause, timeline: Timeline, alert: str, address: str) -> None:
    with trio.move_on_after(LIMIT_SECONDS):
        await cause(timeline, alert, address)


def main(names: list[str]) -> int:
    """Drill these alerts, or all, and say how it went."""
    if PROGRAM is None:
        print("prometheus is missing: install it with `apt-get install prometheus`", file=sys.stderr)
        return 1
    if unknown := set(names) - set(CAUSES):
        print(f"no drill for {', '.join(sorted(unknown))}; there are: {', '.join(CAUSES)}", file=sys.stderr)
        return 2
    timeline = trio.run(partial(drill, names or list(CAUSES)))
    print(f"\n{timeline.table()}")
    failed = [alert for alert in timeline.expected if not timeline.is_over(alert)]
    if failed:
        print(f"\nThese did not fire and resolve: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
