"""A model with its losses and its preprocessing."""
