"""Measurements: reported, never a reason for a build to fail."""
