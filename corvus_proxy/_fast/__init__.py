"""The compiled parts: two scanners, and the writer of requests to Redis.

Nothing here allocates per byte, waits, logs, or decides about money. What runs per byte or per
chunk is compiled; what runs per request is Python. There is no second implementation: the slow and
obvious one lives in tests/oracle.
"""

try:
    from corvus_proxy._fast.body import (
        BodyScan,
        join_pieces,
        member_quarters,
        scan_body,
        scan_members,
    )
    from corvus_proxy._fast.resp import pack
    from corvus_proxy._fast.stream import StreamMeter
except ImportError as error:
    raise ImportError(
        "The compiled parts are missing. `./corvus` builds them; by hand:"
        " python setup.py build_ext --inplace"
    ) from error

__all__ = [
    "BodyScan",
    "StreamMeter",
    "join_pieces",
    "member_quarters",
    "pack",
    "scan_body",
    "scan_members",
]
