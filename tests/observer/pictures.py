"""`python -m tests.observer.pictures DIRECTORY`: take the pictures of the observer's page that the documents show.

A real server works on a plan meanwhile, its actors crash and one blocks the loop; headless Chromium looks at it. What
is on the pictures differs from run to run. Not a test.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from tests.observer.theatre import MISSING, browser, stage

PLAN = """---
id: RELEASE
concurrency: 3
---
# Release acorn 1.0

### read the plan
```yaml
specialist: analyst
run: "true"
```

### lay out the package
```yaml
specialist: architect
depends: [read the plan]
run: "true"
```

### write the parser
```yaml
specialist: implementer
depends: [lay out the package]
run: "true"
```

### write the store
```yaml
specialist: implementer
depends: [lay out the package]
run: "true"
```

### write the tests
```yaml
specialist: tester
depends: [write the parser, write the store]
run: sleep 300
```

### fuzz the parser
```yaml
specialist: tester
depends: [write the parser]
run: "false"
```

### document the formats
```yaml
specialist: documenter
depends: [write the parser]
run: sleep 300
```

### measure the store
```yaml
specialist: tester
depends: [write the store]
run: sleep 300
```

### review everything
```yaml
specialist: reviewer
depends: [write the tests, document the formats]
```

### cut the release
```yaml
depends: [review everything, measure the store, fuzz the parser]
```

### announce it
```yaml
depends: [cut the release]
```
"""

WINDOW = {"width": 1280, "height": 660}


async def take(directory: Path) -> None:
    """Take all pictures."""

    def named(name: str) -> str:
        return str(directory / f"observer-{name}.png")

    async with stage() as server, browser(f"http://127.0.0.1:{server.port}/observer/") as one:
        await server.act("plan", PLAN)
        await server.act("enter", "alice", "ben", "clara", "dora", "emil", "frida")
        await server.act("crowd", 60)
        await server.act("bustle", 0.5)
        # The curves want some history, and the page looks at it once, so that the feed keeps it.
        await one.walk("linger", seconds=20)
        for name, messages in (("alice", 12), ("ben", 3), ("emil", 35)):
            await server.act("work", name, 120, messages)
        for name in ("clara", "dora", "clara"):
            await server.act("crash", name, f"{name} forgot the words")
            await trio.sleep(1.5)
        await server.act("wait_for", "clara", 120)
        await server.act("work", "clara", 120, 5)
        await server.act("block", "frida", 0.9)
        await trio.sleep(6)
        await one.walk(
            "picture", server.act, size=WINDOW, pictures=[["tree", named("tree"), ""], ["log", named("log"), ""]]
        )
        await one.walk("picture", server.act, dark=True, size=WINDOW, pictures=[["actors", named("actors"), ""]])
        await one.walk("picture", server.act, size=WINDOW, pictures=[["node", named("actor"), "clara"]])
        await one.walk("picture", server.act, dark=True, size=WINDOW, pictures=[["tasks", named("tasks"), ""]])
        await one.walk("picture", server.act, size=WINDOW, pictures=[["loop", named("loop"), ""]])
        await one.walk("picture", server.act, phone=True, pictures=[["tree", named("phone"), ""]])


if __name__ == "__main__":
    if MISSING is not None:
        sys.exit(f"No pictures: {MISSING}")
    trio.run(take, Path(sys.argv[1]))
