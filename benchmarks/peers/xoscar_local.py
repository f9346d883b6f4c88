"""xoscar in one process, by its local reference, which calls the actor under its lock. See `xoscar` for the rest."""

from __future__ import annotations

from xoscar.core import ActorRef, create_local_actor_ref

from benchmarks.peers.xoscar import serve_kind


def without_message(created: ActorRef) -> ActorRef:
    local = create_local_actor_ref(created.address, created.uid)
    assert local is not None, "xoscar did not find the actor in its own process"
    return local


if __name__ == "__main__":
    serve_kind(without_message)
