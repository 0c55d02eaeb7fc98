"""What is told how a training goes, without being part of it."""
