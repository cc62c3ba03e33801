"""Which failed tries are followed by another, and with whom."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corvus_proxy.errors import UpstreamFault
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.routing.tries import Tries
from corvus_proxy.settings import Credential, PoolSettings, Upstream
from corvus_proxy.upstream.pool import Pool
from corvus_proxy.upstream.transport import HttptoolsTransport
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.refusal import Relayed

pytestmark = pytest.mark.anyio
BASES = {"a": "https://one.test", "b": "https://one.test", "c": "https://two.test"}
SIGNED = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "EqQB"}]},
    {"role": "user", "content": "and"},
]
INVALID = "messages.1.content.0: Invalid `signature` in `thinking` block"
SEALED = "The encrypted content for item rs_1 could not be verified."


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    (tmp_path / "s").write_text("k")
    rows = [
        Upstream("anthropic", base, credential=[Credential(name, secret_file=str(tmp_path / "s"))])
        for name, base in BASES.items()
    ]
    return Pool(rows, {"httptools": HttptoolsTransport()})


def exchange(turns: list[dict[str, Any]], session: str) -> Exchange:
    client = SimpleNamespace(
        headers=[(b"session-id", session.encode())], head_sent=False, gone=False
    )
    made = Exchange(client, Dialect.MESSAGES, "req_1", 0.0)  # type: ignore[arg-type]
    made.wallet = "w_1"
    made.body = json.dumps({"model": "m", "max_tokens": 9, "messages": turns}).encode()
    made.asked = request.read(Dialect.MESSAGES, made.body)
    made.model = SimpleNamespace(family="anthropic")  # type: ignore[assignment]
    return made


def refusal(message: str) -> Relayed:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    return Relayed(400, [], json.dumps(body).encode())


async def tried(pool: Pool, made: Exchange, answers: dict[str, UpstreamFault]) -> list[str]:
    """The hosts asked, in turn, where each gives this fault or else serves."""
    found = []
    tries = Tries(made, pool, PoolSettings())
    while tries.wanted:
        async with tries:
            found.append(made.lease.origin.host)
            if (fault := answers.get(found[-1])) is not None:
                raise fault
            made.ending = SimpleNamespace(outcome="completed")  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("message", [INVALID, SEALED])
async def test_signatures_that_a_provider_does_not_know_are_anothers(
    pool: Pool, message: str
) -> None:
    """Each provider is asked once, and the session stays where it was served."""
    for number in range(12):
        answers: dict[str, UpstreamFault] = {"one.test": refusal(message)}
        found = await tried(pool, exchange(SIGNED, f"s{number}"), answers)
        assert found in (["two.test"], ["one.test", "two.test"])
        assert await tried(pool, exchange(SIGNED, f"s{number}"), answers) == ["two.test"]
    assert {state for _, _, state in pool.states()} == {"healthy"}


async def test_where_nobody_knows_them_the_client_reads_the_refusal(pool: Pool) -> None:
    """In the words of the last that was asked."""
    answers: dict[str, UpstreamFault] = dict.fromkeys(("one.test", "two.test"), refusal(INVALID))
    made = exchange(SIGNED, "s")
    with pytest.raises(Relayed):
        await tried(pool, made, answers)
    assert made.attempts == 2


@pytest.mark.parametrize(
    ("turns", "message"), [(SIGNED[:1], INVALID), (SIGNED, "messages: too long")]
)
async def test_any_other_fault_of_the_request_is_asked_once(
    pool: Pool, turns: list[dict[str, Any]], message: str
) -> None:
    """A history without signatures, or a refusal that is of something else."""
    made = exchange(turns, "s")
    answers: dict[str, UpstreamFault] = dict.fromkeys(("one.test", "two.test"), refusal(message))
    with pytest.raises(Relayed):
        await tried(pool, made, answers)
    assert made.attempts == 1
