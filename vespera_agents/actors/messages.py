"""Messages: any object can be told; a `Request[R]` can also be asked, and its answer is an `R`.

Messages are plain values, best frozen dataclasses: sender and receiver share the object, nothing is copied.
This module knows nothing of mailboxes or actors; `dispatch` reads reply types with it.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

Reply_co = TypeVar("Reply_co", covariant=True)


class Request(Generic[Reply_co]):
    """A message that is answered with an `R`: `class Get(Request[int])`, then `await ref.ask(Get())` is an `int`."""

    __slots__ = ()


REQUESTS: Final[tuple[type, ...]] = (Request,)
"""What can be asked, for a check that only those who use no type checker need."""
