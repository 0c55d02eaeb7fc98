"""One file per family of datasets."""
