"""Every key that a config may have, and what becomes of it, as tables."""
