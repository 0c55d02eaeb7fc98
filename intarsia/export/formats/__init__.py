"""One file per format: how it is written, described, read and run."""
