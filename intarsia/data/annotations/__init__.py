"""Annotations of every tool: shapes with names, drawn to label maps when a sample is read."""
