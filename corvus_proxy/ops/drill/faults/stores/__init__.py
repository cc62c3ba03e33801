"""Faults of Redis itself and of its files."""
