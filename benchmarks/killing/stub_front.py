"""`python -m benchmarks.killing.stub_front`: the real front over a worker that imports nothing and answers each line.

What it takes until its first answer is what the front itself takes: this worker is there long before it.
"""

import gc
import sys

from vespera_agents.front.launch import launch

STUB = """
import os
link = int(os.environ["VESPERA_LINK"])
os.write(link, b'+ {"pid": %d, "version": "0", "surface": "", "http": null}\\n' % os.getpid())
rest = b""
while chunk := os.read(link, 1 << 16):
    *lines, rest = (rest + chunk).split(b"\\n")
    for line in lines:
        number, _, text = line.partition(b" ")
        if number.isdigit():
            os.write(link, b"R %s %s\\n" % (number, text))
        elif number == b"?":
            os.write(link, line + b"\\n")
"""

if __name__ == "__main__":
    command = (sys.executable, "-I", "-S", "-c", STUB)
    launched = launch(command)
    # As the command does it: the first worker starts before the front imports what it needs itself.
    gc.disable()
    from vespera_agents.front.front import run_front
    from vespera_agents.front.settings import Settings

    gc.freeze()
    gc.enable()
    sys.exit(run_front(Settings(worker=command, spare=False), launched))
