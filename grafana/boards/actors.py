"""The dashboard of actors, their mailboxes, and the event loop that they share."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Section, bars, lines
from grafana.queries import average, largest, now, quantiles, rate

__all__ = ["ACTORS"]

_ACTORS: Final = Section(
    "Actors",
    (
        lines(
            "Living actors", "Actors by class and state.", "short", now("vespera_actors", "kind", "state"), stacked=True
        ),
        lines(
            "Starts and stops",
            "Incarnations of actors that became ready and that ended, per second; crashed ones come again.",
            "cps",
            rate("vespera_actor_starts_total", legend="started"),
            rate("vespera_actor_stops_total", "reason"),
        ),
        lines(
            "Time to be ready",
            "From an actor's construction to its being ready.",
            "s",
            *quantiles("vespera_actor_init_duration_seconds", "kind", of=(0.95,)),
        ),
        lines(
            "Messages",
            "Messages taken out of mailboxes per second, by what became of them.",
            "mps",
            rate("vespera_actor_messages_total", "kind", "outcome"),
        ),
        lines(
            "Time in a receiver",
            "How long a message was worked on; a specialist's command counts whole.",
            "s",
            *quantiles("vespera_actor_message_duration_seconds", "kind", of=(0.5, 0.95)),
            average("vespera_actor_message_duration_seconds", "kind", legend="mean {{kind}}"),
        ),
        lines(
            "Longest in hand",
            "The longest that any message now in hand has been there; a line that climbs is long work, or stuck.",
            "s",
            largest("vespera_actor_busy_seconds_max", "kind"),
        ),
        lines(
            "Asks",
            "From an ask to its answer.",
            "s",
            *quantiles("vespera_ask_duration_seconds", "kind", of=(0.5, 0.95)),
        ),
        lines(
            "Asks that nobody waits for",
            "Asks per second whose caller gave up, and messages per second that their receiver does not know.",
            "cps",
            rate("vespera_ask_timeouts_total", "kind", legend="given up {{kind}}"),
            rate("vespera_unhandled_messages_total", "kind", legend="unknown {{kind}}"),
        ),
    ),
)
_MAILBOXES: Final = Section(
    "Mailboxes",
    (
        lines(
            "Messages that wait", "User messages in all mailboxes.", "short", now("vespera_mailbox_messages", "kind")
        ),
        bars(
            "Fullest mailbox",
            "How full the fullest mailbox is; a full one refuses or drops.",
            "percentunit",
            largest("vespera_mailbox_fill_ratio_max", "kind"),
            limits=((0.8, "orange"), (0.95, "red")),
            top=1,
        ),
        lines(
            "Oldest message",
            "The longest that a message now in a mailbox has waited.",
            "s",
            largest("vespera_mailbox_oldest_message_age_seconds", "kind"),
        ),
        lines(
            "Time in a mailbox",
            "How long messages waited before they were taken in hand.",
            "s",
            *quantiles("vespera_mailbox_wait_seconds", "kind", of=(0.5, 0.95)),
        ),
        lines(
            "Not kept",
            "Messages per second that a full mailbox did not keep, by what it was told to drop.",
            "mps",
            rate("vespera_mailbox_dropped_total", "kind", "reason"),
        ),
        lines(
            "Dead letters",
            "Messages per second that nobody worked off to the end, by why.",
            "mps",
            rate("vespera_dead_letters_total", "kind", "reason"),
        ),
    ),
)
_LOOP: Final = Section(
    "Event loop",
    (
        lines(
            "Busy",
            "The part of the time in which the loop ran something.",
            "percentunit",
            rate("vespera_loop_busy_seconds_total", "instance"),
            limits=((0.8, "orange"), (0.95, "red")),
            top=1,
        ),
        lines(
            "Lateness",
            "How late the loop gets to what is due.",
            "s",
            *quantiles("vespera_loop_lag_seconds"),
        ),
        lines(
            "Turns",
            "Turns of the loop per second; none at all is a loop that is blocked.",
            "cps",
            rate("vespera_loop_ticks_total"),
        ),
        lines(
            "Stalls",
            "Turns per second that took longer than the watchdog allows; the log names the actor and the line.",
            "short",
            rate("vespera_loop_stalls_total", "instance"),
        ),
        lines(
            "Stalled",
            "The part of the time that went by in such turns.",
            "percentunit",
            rate("vespera_loop_stall_seconds_total", "instance"),
            top=1,
        ),
        lines(
            "Tasks and threads",
            "Tasks of trio that live, and worker threads in use.",
            "short",
            now("vespera_trio_tasks_living", legend="tasks"),
            now("vespera_worker_threads_used", legend="threads"),
        ),
    ),
)
ACTORS: Final = Board(
    "actors",
    "Actors and mailboxes",
    "Which actors there are, what they work on, what waits for them, and whether the loop keeps up.",
    (_ACTORS, _MAILBOXES, _LOOP),
)
