"""Pictures of arrays: overlays, panes, curves."""
