"""Where actors meet asyncio and plain threads. Imports asyncio, so import it only where that is used.

asyncio_edge, asyncio_loop  an actor awaits asyncio-only work
asyncio_host                an asyncio program holds a system
portal                      sync code holds a system
trio_thread, outside        the thread both run it in, and what they call it with
"""

from vespera_agents.actors.embedding.asyncio_edge import AsyncioEdge, AsyncioEdgeStatistics
from vespera_agents.actors.embedding.asyncio_host import AsyncioHost, open_system_from_asyncio
from vespera_agents.actors.embedding.outside import ActorHandle, ThreadStatistics
from vespera_agents.actors.embedding.portal import Portal, open_system_portal
from vespera_agents.actors.errors import (
    AsyncioLoopEnded,
    AsyncioMissing,
    AsyncioTaskCancelled,
    SystemCrashed,
    SystemUnresponsive,
    TooManyCalls,
    WrongThread,
)

__all__ = [
    "ActorHandle",
    "AsyncioEdge",
    "AsyncioEdgeStatistics",
    "AsyncioHost",
    "AsyncioLoopEnded",
    "AsyncioMissing",
    "AsyncioTaskCancelled",
    "Portal",
    "SystemCrashed",
    "SystemUnresponsive",
    "ThreadStatistics",
    "TooManyCalls",
    "WrongThread",
    "open_system_from_asyncio",
    "open_system_portal",
]
