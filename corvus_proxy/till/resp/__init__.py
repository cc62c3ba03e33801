"""Scripts' way to Redis: one connection that all calls of a process share.

`pipe` writes requests and reads answers (RESP2); every other command goes through redis-py.
"""
