"""Streamable HTTP for many clients at once, in both protocol eras, on hypercorn's trio worker.

wishes       what the program is asked to serve, checked before anything starts
errors       what can be wrong with that
limits       how much the door takes on, and for how long it waits
listening    the socket, the hosts that a request may name, the certificate
tokens       who may come in, by bearer token
door         the child of the tree: accepts connections, ends them
connections  what hypercorn writes to: writes end, also when nobody reads
guard        what every request passes first: path, host, origin, token, size, room
sessions     the handshake era: sessions by id; session is one of them
answering    one answer as JSON, more as server-sent events
streams      messages on their way to one client; events keeps them for who resumes

Imported only by a program that serves HTTP: over standard input and output nobody pays for it.
"""

__all__: list[str] = []
