"""A live drill: five alerts fire for real, under the real rules of a real Prometheus, and resolve again.

provoked   a server program of ours, with actors that block the loop and let mail wait when they are told to
causes     what is done to each server, and how it is undone
timeline   what Prometheus says of the alerts meanwhile, and the table of it
__main__   `python -m grafana.drill`, which is `make drill`
"""
