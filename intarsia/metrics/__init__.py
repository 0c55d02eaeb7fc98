"""Running scores whose memory does not grow with the number of images."""
