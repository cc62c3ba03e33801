"""Translation: a model whose family does not speak the caller's dialect is asked in one it speaks.

The request is rewritten whole and then read like any other, so that what is priced, held and
metered is what the upstream gets and says; only what the client reads is told in its own dialect.
What has no counterpart is refused by its name before anything is held.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from corvus_proxy.catalogue.book import Model
from corvus_proxy.errors import UpstreamUnavailable
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.openai.failed import Told
from corvus_proxy.wire.translate import (
    chat_from_messages,
    chat_to_messages,
    messages_from_chat,
    messages_to_chat,
)
from corvus_proxy.wire.translate import errors as translated_errors
from corvus_proxy.wire.translate.reply import Reply, Translated
from corvus_proxy.wire.translate.responses import from_chat, to_chat, tools
from corvus_proxy.wire.translate.responses.tools import Extras


class Chained:
    """A stream that is translated twice."""

    def __init__(self, first: Translated, second: Translated) -> None:
        self._first = first
        self._second = second

    def feed(self, chunk: bytes) -> bytes:
        """What to send on for the next bytes of the upstream's."""
        return self._second.feed(self._first.feed(chunk))

    def finish(self) -> bytes:
        """What to send on where the upstream's bytes have ended."""
        return self._second.feed(self._first.finish()) + self._second.finish()

    @property
    def told(self) -> Told:
        """What the client has read of a response."""
        return self._second.told


class Pair(NamedTuple):
    """One way of translating."""

    request: Callable[[bytes, Model], bytes]
    """The upstream's request for the caller's. Raises InvalidRequest."""
    whole: Callable[[bytes, Reply], bytes]
    """The caller's whole answer for the upstream's. Raises msgspec.DecodeError."""
    stream: Callable[[Reply], Translated]


PAIRS: dict[tuple[Dialect, Dialect], Pair] = {
    (Dialect.CHAT, Dialect.MESSAGES): Pair(
        chat_to_messages.request, chat_from_messages.whole, chat_from_messages.Stream
    ),
    (Dialect.MESSAGES, Dialect.CHAT): Pair(
        messages_to_chat.request, messages_from_chat.whole, messages_from_chat.Stream
    ),
    (Dialect.RESPONSES, Dialect.CHAT): Pair(to_chat.request, from_chat.whole, from_chat.Stream),
    (Dialect.RESPONSES, Dialect.MESSAGES): Pair(
        lambda body, model: chat_to_messages.request(
            to_chat.request(body, model, for_messages=True), model
        ),
        lambda body, reply: from_chat.whole(chat_from_messages.whole(body, reply), reply),
        lambda reply: Chained(
            chat_from_messages.Stream(reply._replace(include_usage=True, cost_usd=None)),
            from_chat.Stream(reply),
        ),
    ),
}
"""By the caller's dialect and the upstream's; of two ways for a caller, the first comes first."""

HEADERS: dict[Dialect, list[tuple[bytes, bytes]]] = {
    Dialect.CHAT: [(b"content-type", b"application/json")],
    Dialect.MESSAGES: [
        (b"content-type", b"application/json"),
        (b"anthropic-version", b"2023-06-01"),
    ],
}
"""What a translated request carries beside its credential: the client's own headers speak of
another dialect. The version is the one that takes `temperature` and `top_p`."""


def upstream_dialect(speaks: Callable[[Dialect], bool], caller: Dialect) -> Dialect | None:
    """The dialect in which a family is asked for a caller: the caller's own where it speaks that,
    else one that is translated, else None."""
    if speaks(caller):
        return caller
    for asks, answers in PAIRS:
        if asks is caller and speaks(answers):
            return answers
    return None


class Translation(NamedTuple):
    """What one translated request needs to be answered in its caller's dialect."""

    caller: Dialect
    upstream: Dialect
    reply: Reply
    session: bytes = b""
    """The caller's own word in the body for its session."""

    def whole(self, body: bytes) -> bytes:
        """The whole answer in the caller's dialect. Raises UpstreamUnavailable where the
        upstream's is not of its own."""
        try:
            return PAIRS[self.caller, self.upstream].whole(body, self.reply)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise UpstreamUnavailable(
                "The upstream's answer could not be read; nothing was charged.", retry_after_s=2
            ) from None

    def error(self, status: int, body: bytes) -> bytes:
        """The body of the upstream's refusal in the caller's dialect."""
        return translated_errors.body(self.caller, status, body, self.reply.request_id)

    def stream(self, cost_usd: Callable[[], str] | None = None) -> Translated:
        """A stream in the caller's dialect, still without a byte. `cost_usd` is asked once, when
        the usage is told."""
        reply = self.reply._replace(cost_usd=cost_usd)
        return PAIRS[self.caller, self.upstream].stream(reply)


def request(caller: Dialect, upstream: Dialect, body: bytes, model: Model) -> bytes:
    """The request in the upstream's dialect. Raises InvalidRequest with the member that has no
    counterpart there."""
    return PAIRS[caller, upstream].request(body, model)


def extras(caller: Dialect, body: bytes) -> Extras:
    """What of the caller's request its answer has to know. Raises InvalidRequest."""
    if caller is Dialect.RESPONSES:
        return tools.extras(body)
    return (
        Extras(renamed=messages_to_chat.renamed(body)) if caller is Dialect.MESSAGES else Extras()
    )
