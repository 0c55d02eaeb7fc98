"""How CLIP reads words: its byte-pair encoding, and the sentences that class names are put into."""
