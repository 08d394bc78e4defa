"""Networks brought into each other's coordinates: which units can move, where they should, and the maps that move them."""
