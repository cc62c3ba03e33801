"""Faults at both ends of the wire: clients, upstreams, and what changes while requests run."""
