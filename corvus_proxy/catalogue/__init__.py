"""The models that are sold and their prices: `models.toml`, read once at start."""
