"""Packed data: decoded images and labels of a data set in one file, of which a sample reads only the rows it needs."""
