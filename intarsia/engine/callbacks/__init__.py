"""What wants to know how a training goes, without being part of it."""
