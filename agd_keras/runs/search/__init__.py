"""Search over options."""
