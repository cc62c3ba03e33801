"""Who is told to stop in the middle of a call to Redis stops."""

import asyncio

import pytest

from corvus_proxy.till.client import Till

pytestmark = pytest.mark.anyio


async def test_a_job_that_is_cancelled_in_a_call_ends(valkey_till: Till) -> None:
    """Whatever the call was doing: a job that lost its cancellation would outlive its process."""

    async def job() -> None:
        while True:
            await valkey_till.replid()

    for turns in range(120):
        task = asyncio.create_task(job())
        for _ in range(turns % 30):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=20)
        assert done, f"lost after {turns % 30} turns of the loop"
        assert task.cancelled()
