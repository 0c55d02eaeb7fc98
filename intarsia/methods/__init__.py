"""One file per paper: what that paper introduced."""
