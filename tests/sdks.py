"""The official Python packages, counted.

They are imported where a client is made: it takes seconds, and every process of the gate reads
every file.
"""

from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    import anthropic
    import openai


class Counting(httpx2.HTTPTransport):
    """Counts the HTTP calls that an SDK really makes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        return super().handle_request(request)


def openai_client(api: str, key: str) -> "tuple[openai.OpenAI, Counting]":
    """OpenAI's client with this key, and its calls."""
    import openai

    counting = Counting()
    return openai.OpenAI(
        base_url=f"{api}/v1",
        api_key=key,
        http_client=httpx2.Client(transport=counting),
    ), counting


def anthropic_client(api: str, key: str) -> "tuple[anthropic.Anthropic, Counting]":
    """Anthropic's client with this key, and its calls."""
    import anthropic

    counting = Counting()
    return anthropic.Anthropic(
        base_url=api,
        api_key=key,
        http_client=httpx2.Client(transport=counting),
    ), counting
