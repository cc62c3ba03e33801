"""A request for embeddings: text in, numbers out, nothing generated."""

import msgspec

from corvus_proxy.errors import InvalidRequest

INPUT_TOKENS_MAX = 300_000
"""Of all texts of one request together (platform.openai.com, embeddings): the limit that the
upstream refuses beyond."""


class Request(msgspec.Struct):
    """The members that decide price and hold."""

    model: str
    input: msgspec.Raw


def check(request: Request) -> None:
    """Refuses an input that is neither text nor tokens. Raises InvalidRequest."""
    if bytes(request.input)[:1] not in (b'"', b"["):
        raise InvalidRequest(
            "input must be a text, a list of texts, or tokens as numbers.", param="input"
        )
