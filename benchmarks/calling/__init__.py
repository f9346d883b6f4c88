"""What the benchmark of callbacks is made of.

receiver    a process that takes callbacks, and mostly misbehaves
changing    real changes of tasks, as fast as the store takes them
judging     what was received against what happened
"""
