"""Tier, speed and place: the words of requests and answers, and what they are here.

OpenAI names its tier at the top of every chunk, where the last word counts, and in a response, of
which the end counts; Anthropic names tier, speed and place inside `usage`, in `message_start` only.
What serves is what is billed, whatever was asked for (developers.openai.com, flex and priority
processing; platform.claude.com, fast mode and data residency).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from corvus_proxy.wire.answer import plain_word
from corvus_proxy.wire.dialect import Dialect

_TIERS = {
    b"null": "",
    b'"auto"': "",
    b'"default"': "",
    b'"flex"': "flex",
    b'"priority"': "priority",
    b'"fast"': "priority",
    b'"ultrafast"': "ultrafast",
}
MODES: dict[Dialect, dict[str, dict[bytes, str]]] = {
    # member: its values as written in JSON, and the mode of service that each asks for.
    Dialect.CHAT: {"service_tier": _TIERS},
    Dialect.RESPONSES: {"service_tier": _TIERS},
    Dialect.EMBEDDINGS: {},
    Dialect.MESSAGES: {
        "service_tier": {b"null": "", b'"auto"': "", b'"standard_only"': ""},
        "speed": {b"null": "", b'"standard"': "", b'"fast"': "fast"},
    },
}
GEOS: dict[Dialect, dict[str, dict[bytes, str]]] = {
    Dialect.CHAT: {},
    Dialect.RESPONSES: {},
    Dialect.EMBEDDINGS: {},
    Dialect.MESSAGES: {"inference_geo": {b"null": "", b'"global"': "", b'"us"': "us"}},
}
_ORDINARY_WORDS = frozenset({"", "auto", "default", "standard", "global", "not_available"})
_SAME = {"fast": "priority"}
"""OpenAI's answers may call one tier by either name."""


class Served(NamedTuple):
    """What an answer says of how it was served; None where it does not say."""

    mode: str | None = None
    geo: str | None = None


def served(dialect: Dialect, counts: Mapping[str, Any], tier: str) -> Served:
    """What served, by the usage (`message_start`'s, or a whole answer's) and the answer's own
    `service_tier`."""
    if dialect is not Dialect.MESSAGES:
        mode = _word(tier or None)
        return Served(_SAME.get(mode, mode) if mode else mode, "")
    speed, place = counts.get("speed"), counts.get("inference_geo")
    mode = _word(speed)
    if not mode:
        # Only a tier that has its own price would show in the bill.
        mode = _word(counts.get("service_tier")) or mode
    return Served(mode, _word(place))


def _word(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    return "" if value in _ORDINARY_WORDS else plain_word(value)
