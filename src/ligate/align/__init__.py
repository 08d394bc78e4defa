"""Networks brought into each other's coordinates: which units can move, where to, and the maps that move them."""
