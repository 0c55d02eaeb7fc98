"""What prediction leaves behind."""
