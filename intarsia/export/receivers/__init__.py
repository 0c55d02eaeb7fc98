"""Programs that take exported files in a form of their own: what that form is, and what is written for it."""
