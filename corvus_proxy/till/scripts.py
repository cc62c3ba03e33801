"""The Lua scripts by name: their text, their SHA-1, and how their replies become values.

Scripts, not server-side functions: each process carries its own text and calls it by content hash,
so two versions run side by side during an upgrade.
"""

import hashlib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, NamedTuple

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


def load(name: str) -> Script:
    """One script of this package."""
    text = (resources.files(__package__) / "scripts" / f"{name}.lua").read_text()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


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
