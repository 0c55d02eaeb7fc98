"""Deliberate faults in the source, and whether the tests see them. `scripts/mutate.py` is the command."""
