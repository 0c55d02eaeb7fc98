"""Scenes of any size, window by window."""
