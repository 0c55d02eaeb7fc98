"""Scenes: georeferenced images of any size, their labels, and the windows of them that are samples."""
