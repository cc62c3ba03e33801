"""Neighbours simulated for demonstration and tests: real protocols over real sockets.

Nothing here knows the gateway, the till or the books; nothing there knows these.
"""
