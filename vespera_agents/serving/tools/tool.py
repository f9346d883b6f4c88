"""What a tool is: a name, words for the model, checked parameters, and one call of the facade.

No word of the protocol here: `protocol` turns a Tool into what the MCP library lists and calls, another face could turn
it into a command. Neighbours: `sessions`, `tasks` and `work` define the tools.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar, cast, final

from pydantic import BaseModel, ConfigDict

from vespera_agents.serving.tools.questions import Question
from vespera_agents.serving.tools.schemas import input_schema, output_schema
from vespera_agents.specialists.answers import Answer, ArtifactLink
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.orchestrator import Orchestrator

__all__ = ["Effects", "Parameters", "Shape", "Telling", "Tool", "make_tool"]


class Parameters(BaseModel):
    """The arguments of a tool; what is not listed is refused."""

    # Built when it is first used, not when it is imported: that made up a fifth of the server's start.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


@final
@dataclass(frozen=True, slots=True)
class Effects:
    """What a client may expect of a tool: the four hints of the protocol, none of them left to a default."""

    read_only: bool = False
    """It changes nothing."""
    destructive: bool = False
    """It may overwrite or drop something."""
    idempotent: bool = False
    """The same call again changes nothing more."""
    open_world: bool = False
    """It may reach beyond this workspace."""


@final
@dataclass(frozen=True, slots=True)
class Telling:
    """What a tool tells."""

    text: str
    """For people, and for models whose client passes on nothing else."""
    structured: Mapping[str, object]
    """As the output schema says."""
    links: tuple[ArtifactLink, ...]


@final
@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. Made by `make_tool`."""

    name: str
    title: str
    description: str
    effects: Effects
    parameters: type[Parameters]
    result: type[Answer]
    invoke: Callable[[Orchestrator, Call, Mapping[str, object]], Awaitable[Telling]]
    """Check the arguments, call the facade, tell.

    Raises ValidationError for the arguments, and whatever the facade raises.
    """
    retell: Callable[[Mapping[str, object]], Telling]
    """Tell an answer that was kept as JSON: what came of a call that went on as a job."""
    question: Callable[[Orchestrator, Call, Mapping[str, object]], Awaitable[Question | None]] | None = None
    """What the user is asked before, where somebody can be asked; raises what `invoke` raises."""
    long: bool = False
    """It may take long whatever its arguments are: a client that knows handles gets one at once."""
    begins: bool = False
    """It begins new work: refused while a shutdown is prepared."""
    awaited: bool = True
    """A process that is about to be replaced waits for its end; not for a tool that itself waits for the others."""

    @property
    def input_schema(self) -> Mapping[str, object]:
        """The schema of the arguments, made when it is first asked for: a server that starts is waited for."""
        return _input_schema(self.parameters)

    @property
    def output_schema(self) -> Mapping[str, object]:
        """The schema of the result."""
        return _output_schema(self.result)


_input_schema = cache(input_schema)
_output_schema = cache(output_schema)

P = TypeVar("P", bound=Parameters)
A = TypeVar("A", bound=Answer)


@final
@dataclass(frozen=True, slots=True)
class Shape(Generic[A]):
    """How a tool's result is made of the facade's answer."""

    result: type[Answer]
    make: Callable[[A], Answer]


def make_tool(
    name: str,
    title: str,
    description: str,
    effects: Effects,
    *,
    parameters: type[P],
    answer: type[A],
    run: Callable[[Orchestrator, Call, P], Awaitable[A]],
    tell: Callable[[A], str],
    shape: Shape[A] | None = None,
    links: Callable[[A], Sequence[ArtifactLink]] = lambda _: (),
    question: Callable[[Orchestrator, Call, P], Awaitable[Question | None]] | None = None,
    long: bool = False,
    begins: bool = False,
    awaited: bool = True,
) -> Tool:
    """Make a tool of a function of the facade.

    Args:
        name: as clients call it.
        title: for people.
        description: for models, below 300 characters, with when to use it.
        effects: what it may change.
        parameters: the model of its arguments.
        answer: the model of what the facade answers.
        run: the call.
        tell: the short text beside the result.
        shape: how the result is made of that answer; without one the answer is the result.
        links: the artifacts that the result speaks of.
        question: what the user is asked before, if there is a doubt.
        long: whether it may take long whatever its arguments are.
        begins: whether it begins new work.
        awaited: whether a process that is about to be replaced waits for its end.
    """

    async def invoke(orchestrator: Orchestrator, call: Call, arguments: Mapping[str, object]) -> Telling:
        return telling(await run(orchestrator, call, parameters.model_validate(arguments)))

    def telling(given: A) -> Telling:
        result = given if shape is None else shape.make(given)
        # None says nothing that absence does not say.
        structured = cast("dict[str, object]", result.model_dump(mode="json", exclude_none=True))
        return Telling(tell(given), structured, tuple(links(given)))

    def retell(kept: Mapping[str, object]) -> Telling:
        return telling(answer.model_validate(kept))

    asked = question

    async def ask(orchestrator: Orchestrator, call: Call, arguments: Mapping[str, object]) -> Question | None:
        return None if asked is None else await asked(orchestrator, call, parameters.model_validate(arguments))

    result = answer if shape is None else shape.result
    asking = None if question is None else ask
    return Tool(name, title, description, effects, parameters, result, invoke, retell, asking, long, begins, awaited)
