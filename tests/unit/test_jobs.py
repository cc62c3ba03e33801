"""A job that is ended ends, also where its cancellation is lost."""

import asyncio

import pytest

from corvus_proxy import jobs

pytestmark = pytest.mark.anyio


class Away(Exception):
    """A store's."""


async def _survives_absences(lost: list[int]) -> None:
    while True:
        try:
            try:
                await asyncio.sleep(60)
            finally:
                if lost:
                    lost.pop()
                    raise Away  # a connection that cannot be given back
        except Away:
            await asyncio.sleep(0)


async def test_a_cancellation_that_is_lost_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, or more often; beside jobs that hear the first word, have ended, or never were."""
    monkeypatch.setattr(jobs, "AGAIN_S", 0.01)
    deaf = [asyncio.create_task(_survives_absences([1] * times)) for times in (0, 1, 3)]
    over = asyncio.create_task(asyncio.sleep(0))
    await asyncio.sleep(0.01)
    await asyncio.wait_for(jobs.end(*deaf, over, None), 5)
    assert all(job.cancelled() for job in deaf)
    assert not over.cancelled()
    await jobs.end()


async def test_who_waits_for_the_end_may_be_cancelled() -> None:
    async def never() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if stays:
                    continue
                raise

    stays = True
    job = asyncio.create_task(never())
    await asyncio.sleep(0)
    ending = asyncio.create_task(jobs.end(job))
    await asyncio.sleep(0.01)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    stays = False
    await jobs.end(job)
