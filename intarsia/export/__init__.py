"""One file from image to label, for programs without Intarsia, and the proof that it says the same."""
