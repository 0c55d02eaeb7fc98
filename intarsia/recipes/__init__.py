"""The published recipes by name."""
