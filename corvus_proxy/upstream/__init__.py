"""The upstreams' side: connections, credentials, and what breaks on the way.

U1  Nothing is sent twice: a request is repeated only on a reused connection that the upstream had
    closed before it answered a byte.
U2  Bytes are handed on as they came; a slow consumer stops the reading, not the memory.
U3  TLS is verified, redirects are not followed, private addresses only where the settings allow
    them.
"""
