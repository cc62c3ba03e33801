"""What is known about one request, in the order in which it becomes known."""

from typing import NamedTuple

from corvus_proxy.catalogue.book import Book, Model
from corvus_proxy.errors import RequestError
from corvus_proxy.gateway.front.client import Client, Headers
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.money.pricing import Bound
from corvus_proxy.money.usage import Usage
from corvus_proxy.till.holds import Hold
from corvus_proxy.upstream.pool_members import Lease
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.openai.failed import NOTHING_TOLD
from corvus_proxy.wire.request import Asked
from corvus_proxy.wire.tenancy.names import Tenant
from corvus_proxy.wire.translate import Translation
from corvus_proxy.wire.verdict import Blame


class Quote(NamedTuple):
    """The prices of a request before it runs. Tokens are of all its answers together."""

    bound: Bound
    """Input bound, and the output limit of the client or the model, whichever is lower."""
    least_nanos: int
    """Below this much free balance the request is refused."""
    most_nanos: int
    """What is held at once: input bound and first slice (streaming), or the full ceiling."""
    share_floor_nanos: int
    """Non-streaming only: up to here a request may take more than half of the free balance."""
    full_nanos: int
    """The full ceiling: input bound and output limit."""


class Ending(NamedTuple):
    """How a request ended and what it costs."""

    outcome: Outcome
    usage: Usage
    """What is charged."""
    source: str
    charge_nanos: int
    error: RequestError | None = None
    """What to tell a client that is still there."""
    flags: tuple[str, ...] = ()
    """What about the upstream's counts cannot be true, or was lowered."""
    billed: Usage | None = None
    """What the upstream bills as far as it is known, where that is not what is charged."""


class Exchange:
    """One request from its first byte to its record. Fields are set by the phase that names
    them."""

    __slots__ = (
        "answer_body",
        "answer_head",
        "asked",
        "attempts",
        "begun",
        "blame",
        "body",
        "book",
        "boundary",
        "client",
        "dialect",
        "digest",
        "ending",
        "first_byte_s",
        "gone_s",
        "hold",
        "lease",
        "limit_tokens",
        "model",
        "quote",
        "request_id",
        "settled",
        "silent_s",
        "started_s",
        "tenant",
        "told",
        "translation",
        "upstream_request_id",
        "wallet",
    )

    def __init__(self, client: Client, dialect: Dialect, request_id: str, started_s: float) -> None:
        self.client = client
        self.dialect = dialect
        self.request_id = request_id
        self.started_s = started_s
        # admit
        self.wallet = ""
        self.digest = ""
        self.tenant: Tenant
        self.body = b""
        self.asked: Asked
        self.model: Model
        self.book: Book
        """Where prices of other models are pinned, together with the model's own."""
        self.translation: Translation | None = None
        """Where the upstream speaks another dialect than the client: `body` and `asked` are then
        what the upstream is asked, and `asked.dialect` is what its answer is read in."""
        # quote
        self.quote: Quote
        # reserve
        self.hold: Hold
        self.limit_tokens: int | None = None
        """The output limit sent upstream in place of the client's; None where it stays."""
        # route
        self.lease: Lease
        self.attempts = 0
        self.upstream_request_id = ""
        # relay
        self.begun = False
        """The client may have had a byte of the answer: no other credential can take over."""
        self.silent_s = 0.0
        """How long an upstream that had accepted a stream said nothing before it began."""
        self.blame: Blame | None = None
        """Of the error event that a stream ended with."""
        self.first_byte_s = 0.0
        self.gone_s = 0.0
        """When the client was seen to have gone."""
        self.ending: Ending
        self.boundary = True
        """A stream stands between two events, where we may write."""
        self.told = NOTHING_TOLD
        """What the client has read of a response."""
        self.settled = False
        """Of a request that failed behind its hold: the ledger has ended the hold at zero."""
        self.answer_head: Headers = []
        self.answer_body = b""
        """A whole answer, kept until `settle` has replied."""

    def drain_left_s(self, now_s: float, drain_s: float) -> float:
        """How long the upstream is still read for a client that has gone: `drain_s` in all, in
        whichever phases it falls."""
        self.gone_s = self.gone_s or now_s
        return max(0.0, self.gone_s + drain_s - now_s)
