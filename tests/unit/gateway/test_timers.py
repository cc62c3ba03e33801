"""`Patience`: what `asyncio.timeout` promises, by one coarse timer."""

import asyncio

import pytest

from corvus_proxy.gateway.front.timers import TICK_S, Patience


def run_within(limit_s, wait_s):
    async def block():
        with Patience(limit_s):
            await asyncio.sleep(wait_s)

    asyncio.run(block())


def test_what_ends_in_time_is_left_alone():
    run_within(5.0, 0.01)
    run_within(None, 0.01)


def test_what_takes_too_long_ends_with_a_timeout():
    with pytest.raises(TimeoutError):
        run_within(0.01, 2 * TICK_S + 1)
    with pytest.raises(TimeoutError):
        run_within(0, 1)


def test_an_end_that_is_told_later():
    async def block():
        loop = asyncio.get_running_loop()
        with Patience(None) as patience:
            loop.call_later(0.01, patience.end_in, 0)
            await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        asyncio.run(block())


def test_a_block_that_is_over_cannot_be_ended():
    async def block():
        with Patience(None) as patience:
            pass
        patience.end_in(0)
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()

    assert asyncio.run(block()) == 0


@pytest.mark.parametrize("error", [None, KeyError])
def test_what_ends_before_it_waits_is_not_cancelled_later(error):
    """The time may be over at once, and the block end without a wait: in what comes after, there is
    nobody to make a timeout of a cancelling."""

    async def block():
        try:
            with Patience(0):
                if error:
                    raise error
        except KeyError:
            pass
        await asyncio.sleep(0.01)
        return True

    assert asyncio.run(block())


def test_another_s_cancelling_goes_before():
    async def block():
        with Patience(0):
            asyncio.current_task().cancel()
            await asyncio.sleep(5)

    async def outer():
        task = asyncio.ensure_future(block())
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(outer())


def test_an_error_of_the_block_is_not_hidden():
    async def block():
        with Patience(0):
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(block())


def test_all_limits_are_looked_after_in_every_loop():
    async def slow():
        try:
            with Patience(0.01):
                await asyncio.sleep(5)
        except TimeoutError:
            return True
        return False

    async def many():
        return await asyncio.gather(*[slow() for _ in range(50)])

    for _ in range(2):
        assert all(asyncio.run(many()))
