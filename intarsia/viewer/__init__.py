"""A local page for looking at data, and at what trained models make of them."""
