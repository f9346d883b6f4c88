"""`vespera top`: a server watched from a terminal, over the feed on its private socket.

command   what was asked for: the interface, or one picture
feed      reads the feed and goes on with the next server; asyncio
mirror    what the feed has told; pure
facts     that in short texts fit for a terminal; pure
once      one picture in plain text or JSON
app       the interface: tabs, keys, what is asked for when; needs Textual, as do the two below
views     the rows of the tree and of the actors; lists has those of the log, the tasks and the stalls; pure
panes     the tabs as widgets
grid      a table that draws only the rows that are seen
"""

from __future__ import annotations

__all__: list[str] = []
