"""The observer: what a server shows of itself to people who watch it, in a browser or in a terminal.

feed       a whole picture, then a change each second, built once for all viewers and only while there are any
frames     the last changes, from which each viewer takes what it lacks
tree       the supervision tree as rows, looked through in slices; nodes is one row
telling    what was told beside the tree, and what of it is news; sections are the values, sessions those of the store
history    the last five minutes
blanking   takes secrets of the environment out of the texts of errors
asking     one actor, the lines that all actors wait at, one session: only when somebody asks
app        all of this over HTTP, with the page that shows it; local: from this process

It changes nothing in the server, and shows no message, prompt, environment or token.
"""

__all__: list[str] = []
