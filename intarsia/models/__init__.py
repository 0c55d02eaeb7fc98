"""Assembly of parts into networks: images to logits."""
