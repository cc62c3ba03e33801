"""Which session a request belongs to: what its prompt cache is looked for by. Pure.

A session is its client's own word for it, else the beginning of its prompt: a conversation that
grows begins alike. The wallet is part of it, so that no customer's word reaches another's.
"""

import hashlib
import re

from corvus_proxy.gateway.admission import header
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.wire.request import session_word

PROMPT_BYTES = 1024
"""How much of a prompt tells a session."""
SESSION_HEADERS = (b"x-claude-code-session-id", b"session-id")
_PROMPT_MEMBERS = ("instructions", "system", "messages", "input")
_ANSWER = re.compile(rb'"role"\s*:\s*"assistant"')


def session_of(exchange: Exchange) -> bytes:
    """The session's digest, 16 bytes."""
    word = _word(exchange)
    return hashlib.blake2b(b"%b\0%b" % (exchange.wallet.encode(), word), digest_size=16).digest()


def _word(exchange: Exchange) -> bytes:
    for name in SESSION_HEADERS:
        if value := header(exchange.client.headers, name):
            return value
    body, members = exchange.body, exchange.asked.scan.members
    # A translated request may have no member for the word.
    translation = exchange.translation
    word = session_word(exchange.asked, body) if translation is None else translation.session
    if word:
        return word
    return b"\0".join(
        [_beginning(body, members[name]) for name in _PROMPT_MEMBERS if name in members]
    )


def _beginning(body: bytes, place: tuple[int, int, int]) -> bytes:
    """A member's first bytes, up to the first answer of the model: what every turn has alike."""
    _, start, end = place
    end = min(end, start + PROMPT_BYTES)
    answer = _ANSWER.search(body, start, end)
    if answer is not None:
        end = answer.start()
    return body[start:end].rstrip(b" \t\r\n{}[],")
