"""The configuration language: syntax and plain values, no torch."""
