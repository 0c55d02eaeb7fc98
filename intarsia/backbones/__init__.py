"""Backbones that several methods use, one file per family."""
