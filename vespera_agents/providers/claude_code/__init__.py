"""Claude Code as an isolated worker: one process, one working copy, one directory of its own, one budget for each task.

claude        the provider: whole tasks, and single requests
run           one process, talked to in lines of JSON
tally         what a run has told
command_line  its arguments and its environment
settings      who it is here
fake          a program that behaves like it, for tests and trials
"""

__all__: list[str] = []
