"""The calls of a supervisor in the model: what each must do, and what it must answer.

An operation waits in the model's inbox like any other; its `Reply` has the answer as soon as the model knows it.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Final, final

from supervisors.exits import ExitKind
from supervisors.specs import ChildSpec
from supervisors.testing.kids import DOWN, RESTARTING, Kid
from supervisors.testing.model import Model, Operation

OK: Final = "ok"
IGNORED: Final = "ignored"
REFUSED: Final = "SupervisorNotRunning"


@final
class Reply:
    """The answer that a call must get."""

    __slots__ = ("answer", "call", "overtaken")

    def __init__(self, call: str) -> None:
        self.call = call
        """What was asked, for a message."""
        self.answer: str | None = None
        """OK, IGNORED, the name of the error; None while the model does not know yet."""
        self.overtaken = False
        """Whether the supervisor was already to stop when it was made."""


@final
class ModelCalls:
    """The calls of one supervisor, in the model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._numbers = count(1)

    def submit(self, now: float, call: str, child_id: str, spec: ChildSpec | None) -> Reply:
        """Have a call, made `now`, carried out in its turn; `spec` is that of a child to start."""
        reply = Reply(f"{call}({child_id})")
        match call:
            case "start_child":
                assert spec is not None, "a child is started from a spec"
                operation = partial(self._start_child, spec, reply)
            case "start_dynamic":
                operation = partial(self._start_dynamic, reply)
            case "terminate_child":
                operation = partial(self._terminate_child, child_id, reply)
            case "restart_child":
                operation = partial(self._restart_child, child_id, reply)
            case _:
                operation = partial(self._delete_child, child_id, reply)
        self._model.submit(now, operation)
        return reply

    def _start_child(self, spec: ChildSpec, reply: Reply) -> Operation:
        present = self._model.kids.get(spec.id)
        if present is not None:
            down = present.state == DOWN and not present.taken
            reply.answer = "AlreadyPresent" if down else "AlreadyStarted"
            return
        kid = self._model.kids[spec.id] = Kid(spec.id, spec)
        yield from self._start_new(kid, reply)

    def _start_dynamic(self, reply: Reply) -> Operation:
        model = self._model
        template, most = model.template, model.flags.max_children
        assert template is not None, "only a dynamic supervisor has a template"
        if most is not None and len(model.kids) >= most:
            reply.answer = "TooManyChildren"
            return
        kid = Kid(f"{template.id}:{next(self._numbers)}", template)
        model.kids[kid.id] = kid
        yield from self._start_new(kid, reply)
        if reply.answer == IGNORED:
            model.kids.pop(kid.id, None)

    def _start_new(self, kid: Kid, reply: Reply) -> Operation:
        yield from self._start(kid, reply)
        if reply.answer == "StartFailed":
            self._model.kids.pop(kid.id, None)

    def _start(self, kid: Kid, reply: Reply) -> Operation:
        yield from self._model.start(kid)
        if kid.ready_at is not None:
            reply.answer = OK
        elif kid.end is not None and kid.end.kind is ExitKind.IGNORED:
            reply.answer = IGNORED
            if kid.temporary:
                self._model.kids.pop(kid.id, None)
        else:
            reply.answer = "StartFailed"

    def _terminate_child(self, child_id: str, reply: Reply) -> Operation:
        kid = self._model.kids.get(child_id)
        if kid is None:
            reply.answer = "ChildNotFound"
            return
        yield from self._model.stop(kid)
        if kid.temporary or self._model.template is not None:
            self._model.kids.pop(child_id, None)
        reply.answer = OK

    def _restart_child(self, child_id: str, reply: Reply) -> Operation:
        kid = self._down(child_id, reply)
        if kid is not None:
            yield from self._start(kid, reply)

    def _delete_child(self, child_id: str, reply: Reply) -> Operation:
        if self._down(child_id, reply) is not None:
            self._model.kids.pop(child_id)
            reply.answer = OK
        yield from ()

    def _down(self, child_id: str, reply: Reply) -> Kid | None:
        kid = self._model.kids.get(child_id)
        if kid is None:
            reply.answer = "ChildNotFound"
        elif kid.taken:
            reply.answer = "ChildRunning"
        elif kid.state == RESTARTING:
            reply.answer = "ChildRestarting"
        else:
            return kid
        return None
