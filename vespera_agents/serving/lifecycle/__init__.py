"""The life of a worker behind its front: how it begins, is drained, replaced, and what it tells about that.

standing    how the front fares, as it tells its worker
life        the child of the tree that does what a worker owes its front
restarting  asking for a replacement, and answering when it has come
preparing   a shutdown that is prepared: nothing new begins, what holds it up is named
reporting   the state and the history of replacements, and round trips
surface     what clients know of a server, told from another version's
"""

__all__: list[str] = []
