"""How alike two networks are, unit by unit and as a whole, from what their units do on the same inputs."""
