"""Counting a request."""

from prometheus_client import REGISTRY

from corvus_proxy import metrics


def value(name: str, **labels: str) -> float:
    """The present figure of a series; zero before its first count."""
    return REGISTRY.get_sample_value(name, labels) or 0


def test_a_request_is_counted_once_on_each_of_its_figures() -> None:
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
    requests = value("corvus_requests_total", family="glm", dialect="chat", outcome="completed")
    assert requests == 2
    assert value("corvus_tokens_total", family="glm", usage_class="output") == 10
    series = {"family": "glm", "usage_class": "cache_read"}
    assert REGISTRY.get_sample_value("corvus_tokens_total", series) is None
    assert value("corvus_charged_nanos_total", family="glm") == 14
    assert value("corvus_shortfall_nanos_total", family="glm") == 4
    assert value("corvus_request_seconds_count", family="glm") == 2
    assert value("corvus_first_byte_seconds_count", family="glm") == 1
