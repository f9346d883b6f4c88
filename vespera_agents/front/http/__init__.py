"""HTTP at the front: the listening socket, the connections of clients, and each request on its way to a worker.

wishes       what the program is asked to serve, checked before anything starts
errors       what can be wrong with that
limits       how much is taken on, and for how long it is waited
listening    the socket, the hosts that a request may name, the certificate
tokens       whose a bearer token is
entrance     who may come in, by the head of a request alone
passes       what a browser has instead of a token
facts        what the worker is told of a request
door         the child of the front's tree: accepts connections, ends them
connection   one client: its requests one after another, their bodies, its hanging up
exchange     one request, until its answer is complete, whatever becomes of its workers
probes       whether the server is well, also while no worker can say it
upstream     connections to the worker's private socket
events       server-sent events on their way through
refusals     what a client hears that cannot be served
sending      writes that end, also when nobody reads
workers      what requests must know of the front's workers; side: where they come from

The first six serve a program without a front, too; `vespera_agents.serving.transports.http` imports them from here.
Not here: sessions, JSON.
"""

__all__: list[str] = []
