"""The data doctor: what is in a folder, what is wrong with it, and a description of it."""
