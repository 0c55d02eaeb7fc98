"""One training: the loop, its step, and what surrounds them."""
