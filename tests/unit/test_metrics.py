"""Counting a request."""

import asyncio

import pytest
from prometheus_client import REGISTRY, Histogram

from corvus_proxy import metrics

pytestmark = pytest.mark.anyio


def value(name: str, **labels: str) -> float:
    """The present figure of a series; zero before its first count."""
    return REGISTRY.get_sample_value(name, labels) or 0


async def test_a_request_is_counted_once_on_each_of_its_figures() -> None:
    """Outcome, tokens that are not zero, charge, and durations; no first byte, no observation."""
    for first_byte_s in (0.1, 0.0):
        metrics.answered(
            "glm",
            "chat",
            "completed",
            charge_nanos=7,
            shortfall_nanos=2,
            tokens={"input": 3, "output": 5, "cache_read": 0},
            total_s=0.2,
            first_byte_s=first_byte_s,
        )
    await asyncio.sleep(metrics.FLUSH_S * 2)
    requests = value("corvus_requests_total", family="glm", dialect="chat", outcome="completed")
    assert requests == 2
    assert value("corvus_tokens_total", family="glm", usage_class="output") == 10
    series = {"family": "glm", "usage_class": "cache_read"}
    assert REGISTRY.get_sample_value("corvus_tokens_total", series) is None
    assert value("corvus_charged_nanos_total", family="glm") == 14
    assert value("corvus_shortfall_nanos_total", family="glm") == 4
    assert value("corvus_request_seconds_count", family="glm") == 2
    assert value("corvus_first_byte_seconds_count", family="glm") == 1


async def test_a_histogram_that_is_written_at_once_is_that_of_single_observations() -> None:
    """Bucket by bucket, the bounds themselves among them."""
    values = [0.0, 0.005, 0.0051, 0.3, 0.3, 299.0, 300.0, 300.1, 1e6]
    alone = Histogram("alone", "One by one.", buckets=metrics._SECONDS, registry=None)
    for number in values:
        alone.observe(number)
        metrics.answered("other", "chat", "completed", charge_nanos=0, shortfall_nanos=0,
                         tokens={}, total_s=number, first_byte_s=0.0)  # fmt: skip
    metrics.flush()
    wanted = {s.labels["le"]: s.value for s in alone.collect()[0].samples if s.labels}
    for bound, count in wanted.items():
        assert value("corvus_request_seconds_bucket", family="other", le=bound) == count
    assert value("corvus_request_seconds_sum", family="other") == sum(values)
