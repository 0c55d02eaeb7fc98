"""What a user of Intarsia may write in a package of his own: see docs/own-parts.md."""
