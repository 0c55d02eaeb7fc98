"""Files that are whole or not there, and walks through folders."""
