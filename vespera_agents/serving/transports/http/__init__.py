"""Streamable HTTP for many clients at once, in both protocol eras, on hypercorn's trio worker.

door         the child of the tree: accepts connections, ends them
connections  what hypercorn writes to: writes end, also when nobody reads
guard        what every request passes first: path, host, origin, token, size, room
sessions     the handshake era: sessions by id; session is one of them
answering    one answer as JSON, more as server-sent events
streams      messages on their way to one client; events keeps them for who resumes
keeping      what the next worker must know of sessions, as rows in the store
private      the socket where a front brings requests; marks: what it must know of the events that pass through it

Where it listens, for whom and within which limits is said in `vespera_agents.front.http`, which has the client's side
of all this when there is a front.

Imported only by a program that serves HTTP: over standard input and output nobody pays for it.
"""

__all__: list[str] = []
