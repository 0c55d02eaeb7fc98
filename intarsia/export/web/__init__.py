"""A page that runs an exported file in a browser: its own files, and what puts them together with a model."""
