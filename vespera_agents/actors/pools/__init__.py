"""Several actors behind one face.

opening                     how a pool is started
pool                        the face: tell, send, ask, resize
routing                     which member gets a message: by turn, by load, by key
membership                  who the members are, as they come and go
"""

from vespera_agents.actors.pools.opening import open_partitions, open_pool
from vespera_agents.actors.pools.pool import PartitionedPool, Pool, PoolStatistics
from vespera_agents.actors.pools.routing import ConsistentHash, LeastBusy, RoundRobin, RouteKey, Routing

__all__ = [
    "ConsistentHash",
    "LeastBusy",
    "PartitionedPool",
    "Pool",
    "PoolStatistics",
    "RoundRobin",
    "RouteKey",
    "Routing",
    "open_partitions",
    "open_pool",
]
