"""The Lua scripts by name: their text, their SHA-1, and how their replies become values.

Scripts, not server-side functions: each process carries its own text and calls it by content hash,
so two versions run side by side during an upgrade.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

from corvus_proxy._fast import pack
from corvus_proxy.money.event import partition_of
from corvus_proxy.money.period import parse_rates
from corvus_proxy.till import reply

NAMES = (
    "ack",
    "adopt",
    "close",
    "credit",
    "debit",
    "direct",
    "expire",
    "extend",
    "init",
    "key",
    "late",
    "load",
    "look",
    "open",
    "rebuild",
    "recall",
    "reserve",
    "settle",
)


class Script(NamedTuple):
    text: str
    sha: str
    begin: bytes
    """How a request for it begins: EVALSHA and its SHA-1, as two bulk strings."""


class Block(NamedTuple):
    """Keys of a call as they are written: their number and they themselves, as bulk strings."""

    words: int
    """How many bulk strings."""
    text: bytes


def load(name: str) -> Script:
    """One script of this package."""
    text = (resources.files(__package__) / "scripts" / f"{name}.lua").read_text()
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(text, sha, bulk(["EVALSHA", sha]))


def bulk(words: Sequence[bytes | str | int]) -> bytes:
    """Words as bulk strings of RESP2, without the array that they belong to."""
    return pack(0, b"", words).partition(b"\r\n")[2]


SCRIPTS = {name: load(name) for name in NAMES}


def money_keys(partition: int, wallet: str) -> list[str]:
    """The seven keys of a script that may change a balance, in the order of its KEYS line."""
    tag = f"{{p{partition:02d}}}"
    return [
        f"{tag}:m",
        f"{tag}:w:{wallet}",
        f"{tag}:h",
        f"{tag}:d",
        f"{tag}:dz",
        f"{tag}:l",
        f"{tag}:c",
    ]


def block(keys: Sequence[str]) -> Block:
    """Keys as a call writes them."""
    return Block(1 + len(keys), bulk([len(keys), *keys]))


@lru_cache(maxsize=10_000)
def money_block(wallet: str) -> tuple[int, Block]:
    """The partition of a wallet, and its money keys as a call writes them."""
    partition = partition_of(wallet)
    return partition, block(money_keys(partition, wallet))


def key(partition: int, name: str) -> str:
    """One key of a partition, such as `{p07}:m`."""
    return f"{{p{partition:02d}}}:{name}"


_WORDS: dict[str, Callable[..., Any]] = {
    "POOR": lambda available, held: reply.Poor(int(available), int(held)),
    "LIMITED": lambda reason, *figures: (reply.Limited if reason == "cap" else reply.Paced)(
        reason, *map(int, figures)
    ),
    "DENIED": reply.Denied,
    "NOKEY": reply.NoKey,
    "BACKPRESSURE": reply.Backpressure,
    "DUP": reply.Duplicate,
    "FENCED": reply.Fenced,
    "FINAL": lambda total, reason: reply.Extended(int(total), final=True, reason=reason),
    "NOTOWNER": reply.NotOwner,
    "UNKNOWN": reply.Unknown,
    "LIVE": lambda renewals: reply.Live(int(renewals)),
    "CAP": reply.Cap,
    "BAD": reply.Bad,
}


def _settled(charged: str, short: str, balance: str, seq: str, epoch: str) -> reply.Settled:
    return reply.Settled(int(charged), int(short), int(balance), int(seq), int(epoch))


def _look(key_id: str, status: str, *rest: str) -> reply.Look:
    balance, held, wallet_spent, key_spent, main, label, cap, period, *limits, rates = rest
    figures = map(int, (balance, held, wallet_spent, key_spent))
    about = (main == "1", label, int(cap) if cap else None, period)
    told = (*map(int, limits), parse_rates(rates))
    return reply.Look._make((key_id, status, *figures, *about, *told))


def _granted(granted: str, available: str, key_id: str, *pace: str) -> reply.Granted:
    if not pace:
        return reply.Granted(int(granted), int(available), key_id)
    *limits, minute, resets = pace
    figures = [int(one) if one else None for one in limits]
    found = reply.Pace._make((*figures, minute, int(resets)))
    return reply.Granted(int(granted), int(available), key_id, found)


_OK: dict[str, Callable[..., Any]] = {
    "reserve": _granted,
    "extend": lambda total: reply.Extended(int(total), final=False),
    "settle": _settled,
    "expire": _settled,
    "late": _settled,
    "direct": _settled,
    "adopt": lambda held: reply.Adopted(int(held)),
    "look": _look,
    "credit": lambda balance, seq: reply.Credited(int(balance), int(seq)),
    "debit": lambda taken, short, balance, seq: reply.Debited(
        int(taken), int(short), int(balance), int(seq)
    ),
}


def decode(name: str, answer: Sequence[bytes]) -> Any:
    """The value that a script's reply means; scripts of the worker answer as a tuple of words."""
    word, *rest = [part.decode() for part in answer]
    if word == "OK" and name in _OK:
        return _OK[name](*rest)
    if word in _WORDS:
        return _WORDS[word](*rest)
    return (word, *rest)
