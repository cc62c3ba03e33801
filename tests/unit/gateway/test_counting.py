"""Counting the input of a request: which upstream is asked, and what a failure of one means."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.errors import LimitReached, RequestError, UpstreamOverloaded
from corvus_proxy.gateway.front import counting
from corvus_proxy.settings import PricingSettings, Settings
from corvus_proxy.till.reply import Look
from corvus_proxy.upstream.faults import UpstreamBroke

pytestmark = pytest.mark.anyio
WRONG = (400, {"error": {"type": "invalid_request_error", "message": "m"}})
OURS = (401, {"error": {"type": "authentication_error", "message": "m"}})
COUNTED = (200, {"input_tokens": 7})


class Answer(SimpleNamespace):
    """A whole answer of an upstream."""

    headers: list[tuple[bytes, bytes]] = []

    async def read(self, bytes_max: int) -> bytes:
        return json.dumps(self.body).encode()

    async def __aenter__(self) -> "Answer":
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


def upstreams(*answers: Any) -> tuple[Any, list[tuple[str, ...]]]:
    """A pool whose credentials answer so, one after the other, and whom it was asked without."""
    left: Iterator[Any] = iter(answers)
    asked: list[tuple[str, ...]] = []

    async def open_(origin: Any, sent: Any, *, timeouts: Any) -> Answer:
        found = next(left)
        if found is None:
            raise UpstreamBroke("away")
        return Answer(status=found[0], body=found[1])

    def choose(family: str, dialect: Any, sought: Any) -> Any:
        if len(asked) == len(answers):
            raise UpstreamOverloaded("None is left.")
        asked.append(sought.tried)
        return SimpleNamespace(
            family=family,
            origin=None,
            credential=SimpleNamespace(name=f"c{len(asked)}"),
            request=lambda headers, body, below: (body, below),
            transport=SimpleNamespace(open=open_),
        )

    pool = SimpleNamespace(choose=choose, serves=lambda family, dialect: True)
    using = SimpleNamespace(
        settings=Settings(), pepper=b"p" * 32, book=book.load(PricingSettings()), pool=pool
    )
    return using, asked


async def count(using: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a client reads: the count, or the code of the error."""
    monkeypatch.setattr(
        counting.admission, "caller", lambda headers, pepper: SimpleNamespace(wallet="w_1")
    )

    async def body(bytes_max: int, timeout_s: float) -> bytes:
        return b'{"model":"claude-opus-5-5","messages":[{"role":"user","content":"hi"}]}'

    client = SimpleNamespace(path="/v1/messages/count_tokens", headers=[], body=body)
    look = Look("key_1", "active", 0, 0, 0, 0)
    try:
        reply = await counting.count(
            client,
            look,
            using,
            counting.CountPace(9),  # type: ignore[arg-type]
        )
    except RequestError as error:
        return error.code
    return json.loads(reply.body)["input_tokens"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "told", "asked"),
    [
        ([COUNTED], 7, [()]),
        ([None, COUNTED], 7, [(), ("c1",)]),
        ([OURS, None, COUNTED], 7, [(), ("c1",), ("c1", "c2")]),
        ([None, None, None, COUNTED], "upstream_unavailable", [(), ("c1",), ("c1", "c2")]),
        ([None], "upstream_unavailable", [()]),
        ([WRONG, COUNTED], "upstream_refused", [()]),
        ([], "upstream_overloaded", []),
    ],
)
async def test_another_credential_counts_where_one_cannot(
    monkeypatch: pytest.MonkeyPatch, answers: list[Any], told: Any, asked: list[Any]
) -> None:
    """As for a request that is charged; what is wrong with the request is told at once."""
    using, found = upstreams(*answers)
    assert await count(using, monkeypatch) == told
    assert found == asked


def test_counts_have_a_pace_of_their_own() -> None:
    """By wallet and minute; the next minute is a new one, and what is told to wait is its rest."""
    pace = counting.CountPace(2)
    for now_s in (600.0, 610.0):
        pace.take("w_a", now_s)
    pace.take("w_b", 610.0)
    with pytest.raises(LimitReached) as refused:
        pace.take("w_a", 615.0)
    assert refused.value.retry_after_s == 45
    pace.take("w_a", 660.0)
