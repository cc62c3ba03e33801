"""What the telling of an answer needs to know of its request."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from corvus_proxy.wire.openai.failed import NOTHING_TOLD, Told


class Reply(NamedTuple):
    """Facts of a request that its translated answer shows."""

    slug: str
    request_id: str
    created_s: int
    """Seconds since 1970."""
    include_usage: bool = True
    """The client asked for usage in its stream (chat)."""
    input_estimate: int = 0
    """Tokens of input, told until the upstream tells them."""
    thinks: bool = False
    """The client asked for thinking (Messages): only then it is shown."""
    family: str = ""
    """Of the model: thinking goes back to no other (Responses)."""
    custom_tools: frozenset[str] = frozenset()
    """Names of custom tools, whose calls are told as such (Responses)."""
    namespaced: Mapping[str, tuple[str, str]] = {}
    """By the names of functions that stand in a namespace: it, and their name in it (Responses)."""
    renamed: Mapping[str, str] = {}
    """By the names of functions that were shortened for the upstream: their own (Messages)."""
    cost_usd: Callable[[], str] | None = None
    """What a stream costs, asked when its usage is told: all of it has come by then."""

    def with_cost(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The usage that ends a stream, with its `cost` as a decimal text of USD."""
        return usage if self.cost_usd is None else {**usage, "cost": self.cost_usd()}


class Translated(Protocol):
    """A stream in the caller's dialect, made from the upstream's bytes as they come."""

    def feed(self, chunk: bytes) -> bytes:
        """What to send on: whole events, or nothing."""

    def finish(self) -> bytes:
        """What to send on where the upstream's bytes have ended."""

    @property
    def told(self) -> Told:
        """What the client has read of a response; nothing in other dialects."""
        ...


class Untold:
    """Of dialects whose errors need no memory."""

    told = NOTHING_TOLD
