"""One file per loss: logits and target to a scalar."""
