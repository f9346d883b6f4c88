"""Telling clients of changes, in both eras.

subscriptions  the requests of those who want to hear of changes
watching       those who watch, and what they watch
changes        what changed, and who is told
"""

__all__: list[str] = []
