"""Callbacks: who is told of what happens to tasks, and how that gets there.

settings     whom the owner wants told, and where their secrets are to be found
signing      what proves to a receiver that a callback is ours, and is fresh; pure
retrying     when to try again, and when to give up; pure
posting      one attempt over HTTP
delivery     everything for one target, in order for each task
outbox       the workspace's child that runs deliveries while this server leads
hearing      functions of an embedder in this process
callbacks    all of it for one workspace, as embedders and tools use it
figures      what it counts
"""

from vespera_agents.specialists.callbacks.callbacks import Callbacks
from vespera_agents.specialists.callbacks.hearing import Happening
from vespera_agents.specialists.callbacks.signing import verify

__all__ = ["Callbacks", "Happening", "verify"]
