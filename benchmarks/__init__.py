"""Measurements of the project beside their peers: `python -m benchmarks --list` says which there are."""
