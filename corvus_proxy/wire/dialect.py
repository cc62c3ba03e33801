"""The dialects that clients speak, and which path speaks which."""

from enum import StrEnum


class Dialect(StrEnum):
    """A request and answer format; the value is the word in events, metrics and docs."""

    CHAT = "chat"
    MESSAGES = "messages"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"


PATHS = {
    "/v1/chat/completions": Dialect.CHAT,
    "/v1/messages": Dialect.MESSAGES,
    "/v1/responses": Dialect.RESPONSES,
    "/v1/embeddings": Dialect.EMBEDDINGS,
}
"""Inference paths, without the query."""

COUNTING = {
    "/v1/messages/count_tokens": Dialect.MESSAGES,
    "/v1/responses/input_tokens": Dialect.RESPONSES,
}
"""Paths that count the input of a request and are free."""


def told_by_path(path: str) -> Dialect | None:
    """The dialect in which a path is answered, errors included; None where it is shared."""
    return PATHS.get(path) or COUNTING.get(path)
