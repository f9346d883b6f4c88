"""`Health`: what a server knows of itself, and the `health` branch of its tree, which finds it out.

    root
    └─ health        one_for_one
        ├─ self      what is known, for whoever looks it up with `health_of`
        ├─ watchdog  sees a blocked loop, from a thread, and actors that do not get on
        ├─ model     judges how well the server is, and does what is declared about it
        ├─ feed      what viewers of the observer see, built while there are any
        └─ metrics   answers scrapes from a thread; only where an address is given

A branch that melts down is not started again: what watches the work must never take it down. Neighbours: `metrics`
shows the figures, `model` judges.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast, final

import trio

from supervisors import Backoff, ChildSpec, Report, Restart, StartFailed, Supervisor, SupervisorError, supervisor_spec
from vespera_agents.health.errors import HealthError
from vespera_agents.health.metrics.lifecycle import LifecycleFigures
from vespera_agents.health.metrics.measured import Measured
from vespera_agents.health.metrics.reports import SupervisionFigures
from vespera_agents.health.metrics.requests import RequestFigures
from vespera_agents.health.metrics.sources import Sources
from vespera_agents.health.model import HealthModel
from vespera_agents.health.observer.asking import Answers
from vespera_agents.health.observer.feed import Feed
from vespera_agents.health.report_log import ReportLog
from vespera_agents.health.watchdog.watchdog import Watchdog

if TYPE_CHECKING:
    from vespera_agents.health.metrics.endpoint import MetricsEndpoint
    from vespera_agents.specialists.runtime import Runtime

__all__ = ["Health", "health_of", "model_of"]


_BACKOFF: Final = Backoff(5.0, 60.0)
"""An examination, or a feed, that crashes each time must not use up what the branch may restart: the others go on."""


@final
class Health:
    """Everything that a server knows of its own health; give it to `open_runtime(listener=...)`, then `start` it."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.supervision = SupervisionFigures()
        """What supervisors told, counted."""
        self.reports = ReportLog()
        """What supervisors told last, which also becomes events of the log."""
        self.watchdog = Watchdog()
        """How busy the loop is, what blocks it, and which actors do not get on."""
        self.model = HealthModel()
        """Whether the server lives, is ready, and how well it is."""
        self.requests = RequestFigures()
        """What clients asked for."""
        self.lifecycle = LifecycleFigures()
        """Where the server is in its life."""
        self.measured: Measured | None = None
        """All of it for whoever scrapes, from the first count on."""
        self.feed = Feed(self)
        """What everybody sees who watches this server."""
        self.answers = Answers(self.feed)
        """What only those are told who ask."""
        self.metrics: MetricsEndpoint | None = None
        """Where scrapes are answered, once that is so."""

    def on_report(self, report: Report) -> None:
        """Hear one event of supervision."""
        self.supervision.on_report(report)
        self.reports.on_report(report)

    def count(self, runtime: Runtime) -> Measured:
        """Begin to count; best before the first workspace is opened, so that nothing is missed.

        Args:
            runtime: whose health it is; this is the listener that it was opened with.
        """
        if self.measured is None:
            self.model.bind(runtime, self.watchdog, lambda: self.supervision.restarts.total)
            sources = Sources(runtime, self.supervision, self.requests, self.lifecycle, self.watchdog.figures)
            self.measured = Measured(sources)
        return self.measured

    async def start(self, runtime: Runtime, metrics_address: str | None = None) -> None:
        """Start the branch, and count from now on if nobody does yet.

        Args:
            runtime: whose health it is.
            metrics_address: HOST:PORT to serve metrics on; none without one.

        Raises:
            AddressRefused: the address is wrong, taken or not ours.
        """
        measured = self.count(runtime)
        children = [
            ChildSpec("self", self._be_there),
            ChildSpec("watchdog", self.watchdog.run, args=(runtime.system,)),
            # A component's check that cannot be stopped must not hold up the end of the program.
            ChildSpec("model", self.model.run, shutdown_seconds=1.0, backoff=_BACKOFF),
            ChildSpec("feed", self.feed.run, args=(runtime,), backoff=_BACKOFF),
        ]
        if metrics_address is not None:
            # Only who asks for metrics pays for importing what shows them.
            from vespera_agents.health.metrics.endpoint import metrics_child  # noqa: PLC0415

            # A server that clients wait for does not end because somebody else has its port by now.
            patient = runtime.front is not None and runtime.front.generation > 1
            serve = partial(metrics_child, patient=patient)
            children.append(ChildSpec("metrics", serve, args=(measured.registry, metrics_address, self.model)))
        spec = supervisor_spec("health", lambda: Supervisor(children, name="health"), restart=Restart.TEMPORARY)
        try:
            started = await runtime.root.start_child(spec)
        except StartFailed as failed:
            cause: BaseException | None = failed
            while cause is not None and not isinstance(cause, HealthError):
                cause = cause.__cause__
            raise (cause or failed) from failed
        if metrics_address is not None:
            self.metrics = cast("MetricsEndpoint", cast("Supervisor", started.value).child_value("metrics"))

    async def _be_there(self, *, task_status: trio.TaskStatus[Health]) -> None:
        task_status.started(self)
        await trio.sleep_forever()


def health_of(runtime: Runtime) -> Health | None:
    """Give what a runtime knows of its own health; None where nobody started that, or its branch has melted down."""
    try:
        return cast("Health", cast("Supervisor", runtime.root.child_value("health")).child_value("self"))
    except SupervisorError:
        return None


def model_of(runtime: Runtime) -> HealthModel:
    """Give the model of a runtime's health; where nobody keeps one, one that only measures when it is asked."""
    health = health_of(runtime)
    if health is not None:
        return health.model
    model = HealthModel()
    model.bind(runtime)
    return model
