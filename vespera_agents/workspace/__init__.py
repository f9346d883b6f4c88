"""Where work lives on disk, and which processes serve it.

directory   the `.vespera` layout, refusal of system directories, confinement of paths
registry    the user's state directory: every known workspace, and which configuration its owner trusts
clocks      the machine's own time
leading     which of the servers on a workspace does what need be done only once
servers     the records and locks by which processes on one workspace know each other
mounts      where a workspace's own files lie
opening     opening files where others may put links into the way
settings    `.vespera/config.toml`: which commands an MCP client may cause to run
errors      what is refused, and what to do next
"""

from vespera_agents.workspace.clocks import MachineTime, machine_time
from vespera_agents.workspace.directory import Workspace, confined, open_workspace
from vespera_agents.workspace.errors import ServerNotFound, WorkspaceError
from vespera_agents.workspace.leading import Leadership, leader_of
from vespera_agents.workspace.opening import open_inside
from vespera_agents.workspace.registry import Registry, state_directory
from vespera_agents.workspace.servers import (
    Fronted,
    ServerRecord,
    announce_server,
    elder_server,
    guardian_lock,
    is_announced,
    live_servers,
    server_alive,
    server_record,
    session_lock,
)
from vespera_agents.workspace.settings import Settings, load_settings

__all__ = [
    "Fronted",
    "Leadership",
    "MachineTime",
    "Registry",
    "ServerNotFound",
    "ServerRecord",
    "Settings",
    "Workspace",
    "WorkspaceError",
    "announce_server",
    "confined",
    "elder_server",
    "guardian_lock",
    "is_announced",
    "leader_of",
    "live_servers",
    "load_settings",
    "machine_time",
    "open_inside",
    "open_workspace",
    "server_alive",
    "server_record",
    "session_lock",
    "state_directory",
]
