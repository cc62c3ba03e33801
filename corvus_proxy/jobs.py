"""The end of what runs for ever."""

import asyncio
from typing import Any

AGAIN_S = 1.0


async def end(*jobs: "asyncio.Task[Any] | None") -> None:
    """Cancels jobs, and returns when each has ended; None is one that was never begun.

    A cancellation can be lost: what a dying connection raises while it is given back takes its
    place, and a job that outlives every absence of a store goes on. So it is cancelled again.
    """
    left = {job for job in jobs if job is not None and not job.done()}
    while left:
        for job in left:
            job.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
