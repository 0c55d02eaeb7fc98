"""The parts of `benchmarks/gpu.py`: which checks there are, who runs them, what they do, what is reported of them."""
