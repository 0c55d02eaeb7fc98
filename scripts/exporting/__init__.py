"""What becomes of each method in exported files: the networks that are tried, and how."""
