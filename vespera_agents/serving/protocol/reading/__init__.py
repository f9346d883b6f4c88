"""What clients read: resources, prompts and completions.

requests     the requests for them
resources    what can be read by address
prompts      what a person picks, filled with the state of things
completions  what somebody may mean who has typed the beginning of it
"""

__all__: list[str] = []
