"""Streamlines that follow a field, with gradients."""
