"""What runs inside the image only."""
