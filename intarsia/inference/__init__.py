"""From an image to a label map at its own size."""
