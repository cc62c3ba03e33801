"""Which session a request belongs to: what its prompt cache is looked for by. Pure.

A session is its client's own word for it, else the beginning of its prompt: a conversation that
grows begins alike. The wallet is part of it, so that no customer's word reaches another's.
"""

import hashlib
import re

import msgspec

from corvus_proxy.gateway.admission import header
from corvus_proxy.gateway.exchange import Exchange

PROMPT_BYTES = 1024
"""How much of a prompt tells a session."""
SESSION_HEADERS = (b"x-claude-code-session-id", b"session-id")
_SIGNATURE = re.compile(rb'"(?:signature|encrypted_content)"\s*:\s*"[^"]')
_ANSWER = re.compile(rb'"role"\s*:\s*"assistant"')


class _Metadata(msgspec.Struct):
    user_id: str = ""


_METADATA = msgspec.json.Decoder(_Metadata)


def session_of(exchange: Exchange) -> bytes:
    """The session's digest, 16 bytes."""
    word = _word(exchange)
    return hashlib.blake2b(b"%b\0%b" % (exchange.wallet.encode(), word), digest_size=16).digest()


def is_signed(body: bytes) -> bool:
    """Whether a history carries signatures or sealed reasoning of its provider. Text that looks so
    does not count: its quotes are escaped."""
    return _SIGNATURE.search(body) is not None


def _word(exchange: Exchange) -> bytes:
    for name in SESSION_HEADERS:
        if value := header(exchange.client.headers, name):
            return value
    body, members = exchange.body, exchange.asked.scan.members
    if (place := members.get("prompt_cache_key")) and body[place[1] : place[1] + 1] == b'"':
        return body[place[1] : place[2]]
    if place := members.get("metadata"):
        try:
            user = _METADATA.decode(body[place[1] : place[2]]).user_id
        except (msgspec.DecodeError, RecursionError):
            user = ""  # the upstream will say what it thinks of it
        if user:
            return user.encode()
    return b"\0".join(
        _beginning(body, *members[name][1:])
        for name in ("instructions", "system", "messages", "input")
        if name in members
    )


def _beginning(body: bytes, start: int, end: int) -> bytes:
    """A member's first bytes, up to the first answer of the model: what every turn has alike."""
    end = min(end, start + PROMPT_BYTES)
    answer = _ANSWER.search(body, start, end)
    if answer is not None:
        end = answer.start()
    return body[start:end].rstrip(b" \t\r\n{}[],")
