"""One event of the log: a few words that never change, and what varies beside them, by name.

Everything goes through the standard library's logging, so that an embedder's own configuration counts. Neighbours:
`formats` writes the fields down, `correlation` adds whose work it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import logging

__all__ = ["ERROR", "FIELDS", "KeptError", "log_event"]

FIELDS: Final = "vespera_fields"
"""The attribute of a log record that holds what varies."""
ERROR: Final = "vespera_error"
"""The attribute of a log record that holds an error of which only the words were kept."""


class KeptError(Protocol):
    """What was kept of an error: `supervisors.Failure` is one."""

    @property
    def type_name(self) -> str:
        """The name of its class."""
        ...

    @property
    def message(self) -> str:
        """Its own words."""
        ...

    def formatted(self) -> str:
        """Return it with its traceback."""
        ...


def log_event(
    logger: logging.Logger,
    level: int,
    event: str,
    *,
    error: BaseException | KeptError | None = None,
    **fields: object,
) -> None:
    """Log an event.

    Args:
        logger: whose it is.
        level: how grave.
        event: what happened, in words without values, so that it can be searched for.
        error: told with its traceback.
        fields: the values, as plain as JSON; never a message's body, a prompt, or a secret.
    """
    if not logger.isEnabledFor(level):
        return
    raised = error if isinstance(error, BaseException) else None
    kept = None if raised is not None else error
    logger.log(level, event, exc_info=raised, extra={FIELDS: fields, ERROR: kept}, stacklevel=2)
