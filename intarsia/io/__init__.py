"""Files that are whole or not there, text of any encoding, and the one walk through folders."""
