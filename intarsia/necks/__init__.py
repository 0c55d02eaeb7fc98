"""What stands between a trunk and its heads, one file per neck."""
