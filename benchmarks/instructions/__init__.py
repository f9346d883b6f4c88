"""Instruction counts of the hot loops, this commit's beside its parent's: `python -m benchmarks.instructions`."""
