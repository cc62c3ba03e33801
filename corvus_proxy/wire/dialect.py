"""The dialects that clients speak, and which path speaks which."""

from enum import StrEnum


class Dialect(StrEnum):
    """A request and answer format; the value is the word in events, metrics and docs."""

    CHAT = "chat"
    MESSAGES = "messages"
    RESPONSES = "responses"


PATHS = {
    "/v1/chat/completions": Dialect.CHAT,
    "/v1/messages": Dialect.MESSAGES,
}
"""Inference paths, without the query."""
