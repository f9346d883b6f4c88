"""Run a plan from a program: the tasks are commands, the result is a value and a Markdown report."""

import tempfile
from pathlib import Path

import trio

from vespera_agents.specialists import PlanRun, RunEvent, RunEventKind, RunOptions, open_runtime
from vespera_agents.work.plans import read_plan
from vespera_agents.workspace import Registry

PLAN = """
# Greetings
## Phase 1: Words
### hello
```yaml
run: echo hello
```
### world
```yaml
run: echo world
```
## Phase 2: Sentence
### sentence
```yaml
depends: [hello, world]
run: echo hello, world
```
"""


def show(event: RunEvent) -> None:
    """Print what ends, and how."""
    if event.kind is RunEventKind.FINISHED and event.task is not None:
        print(event.task.title, event.status, event.text)


async def main(directory: Path) -> None:
    async with open_runtime("run", registry=Registry(directory / "state")) as runtime:
        opened = await runtime.workspace(directory)
        result = await PlanRun(opened, show).run(read_plan(PLAN, name="greetings.md"), RunOptions())
        print(result.outcome, result.counts)
        print(result.report.read_text().splitlines()[0])


with tempfile.TemporaryDirectory() as name:
    trio.run(main, Path(name))
