"""What stands between a backbone and its heads, one file per neck."""
