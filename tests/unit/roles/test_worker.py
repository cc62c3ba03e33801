"""The worker's jobs."""

import inspect
import re

from corvus_proxy.roles import worker


def test_each_job_is_started_once() -> None:
    """Two of a kind would ask providers twice, and measure at twice the pace."""
    names = re.findall(r"_every\(\s*\"(\w+)\"", inspect.getsource(worker.main))
    assert len(names) > 10
    assert len(names) == len(set(names))
