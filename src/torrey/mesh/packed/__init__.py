"""Many cells in a box, and the space around them."""
