"""The parts of `peers.py`: what is measured, the workers that measure it, environments, and the report."""
