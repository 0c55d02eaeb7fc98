"""The training loop, the evaluation loop, and what surrounds a step."""
