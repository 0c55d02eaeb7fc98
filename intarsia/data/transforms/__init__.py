"""Pure functions of a sample and a random generator."""
