"""The user's data description: which files belong together, and what label values mean."""
