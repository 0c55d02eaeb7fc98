"""Logits that are never whole in memory: resized, windowed, averaged, turned into labels."""
