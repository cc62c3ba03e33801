"""What a key tells about itself, as JSON, on the API port and the site port."""
