"""A specialist that works by itself: it thinks, uses tools, is checked, revises and hands over, step by step.

loop        the loop itself: one durable step after the other
progress    what follows from the steps that are recorded; pure
handing_in  how a model says that it is done; pure
history     the context of a request: task, dependencies, notes and steps; pure
requesting  the next request: the context within its limit, made smaller where it is too full
shortening  what was made smaller, so that it stays so; pure
handover    the note from which a fresh incarnation goes on, and its check; pure
whole       a task for a model that works by itself, given whole
journal     steps on their way into the store
desk        what the loop needs from outside, passed in; assigning sets one up and has a specialist work at it
tools       the tools of a specialist put together from those who have them
prose       the request for what came of a piece of work in prose; telling puts it in front of a report
accounts    what models did and cost, in words; pure
figures     what became of contexts, counted
"""

__all__: list[str] = []
