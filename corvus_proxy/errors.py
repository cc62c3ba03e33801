"""The error tree: every way we say no, and every way something breaks.

    CorvusError
    ├── Refusal                      we say no; nothing is charged, nothing was sent upstream
    │   ├── InvalidRequest      400  malformed, or a field we cannot bill or serve
    │   ├── WrongDialect        400  this slug is not served on this path
    │   ├── InvalidKey          401  no key, or one that nobody has
    │   ├── KeyDisabled         403  frozen or revoked, or a secret that was changed
    │   ├── KeyExpired          403  the key has reached the end that its owner set
    │   ├── ModelNotAllowed     403  the key's owner has named the models that it may use
    │   ├── NotPermitted        403  this key may not do it, or not without more than the key
    │   ├── NotFound            404  no such path, model or thing
    │   ├── MethodNotAllowed    405
    │   ├── BodyTimeout         408  the request's body stopped coming
    │   ├── BodyTooLarge        413
    │   ├── UnsupportedEncoding 415
    │   ├── UpgradeRefused      426  WebSocket
    │   ├── OutOfBalance        429  the free balance does not cover the request
    │   ├── CapReached          429  the key's own cap does not cover the request
    │   ├── LimitReached        429  rate or concurrency of the key
    │   ├── Unpriced            503  the model's price does not allow it to be sold now
    │   ├── LedgerUnavailable   503  the till is closed, away or behind
    │   └── RecordsUnavailable  503  the books are away; inference goes on without them
    ├── UpstreamFault                a provider, or the way to it, broke
    │   ├── UpstreamRefused     4xx  the provider refused the request as the client sent it
    │   ├── UpstreamOverloaded  429  the provider is busy, or our account there is limited
    │   ├── UpstreamUnavailable 502  no answer, or none that may be relayed
    │   ├── UpstreamCut         502  a stream that ended before it was complete
    │   └── UpstreamTimeout     504
    ├── SlowReader              408  we end an answer that nobody reads
    └── GatewayStopping         503  we end what runs: the process was told to stop

A class says status, code, whose fault and whether to retry *before* anyone asks; `wire.refusal`
turns an instance into the caller's dialect. An expected "no" inside a package is a value; these
are raised where a request ends.
"""

from collections.abc import Sequence
from decimal import DecimalException
from enum import StrEnum
from types import TracebackType
from typing import ClassVar


class Fault(StrEnum):
    """Who caused it."""

    CLIENT = "client"
    GATEWAY = "gateway"
    LEDGER = "ledger"
    UPSTREAM = "upstream"


class CorvusError(Exception):
    """Root of everything this project raises on purpose."""


class Unreadable(ValueError):
    """What stands in somebody's answer cannot be; its text is a sentence of ours."""


class AnswerReading:
    """`with AnswerReading(NoReport, "It is not what it says"):` what is missing in an answer,
    or has another type than it must, is that error, without a word of what stood there."""

    def __init__(self, error: type[CorvusError], sentence: str) -> None:
        self._error, self._sentence = error, sentence

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(
            error,
            LookupError
            | TypeError
            | ValueError
            | AttributeError
            | DecimalException
            | StopIteration
            | OverflowError
            | OSError,
        ):
            why = str(error) if isinstance(error, Unreadable) else type(error).__name__
            raise self._error(f"{self._sentence} ({why})") from None


class ConfigurationError(CorvusError):
    """The configuration or this installation does not allow the start; the text says what to do."""


class RequestError(CorvusError):
    """A request that ends with an error. `details` (JSON-able) go into the error body as they
    are."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    fault: ClassVar[Fault] = Fault.GATEWAY
    retry: ClassVar[bool] = False
    """Whether the same request may well succeed later: sent as `x-should-retry`."""
    retry_after_default_s: ClassVar[int | None] = None
    """Sent as `Retry-After` where whoever raises it does not know better. Each class that says
    retry has one, or is never raised without."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = self.retry_after_default_s if retry_after_s is None else retry_after_s
        self.details = details or {}


class Refusal(RequestError):
    """We say no: nothing is charged and no upstream was called."""

    status, code, fault = 400, "refused", Fault.CLIENT


class InvalidRequest(Refusal):
    status, code = 400, "invalid_request"


class WrongDialect(Refusal):
    """The slug's family is not served on this path; the message names the path that works."""

    status, code = 400, "wrong_endpoint"


class InvalidKey(Refusal):
    """No secret, a mistyped one, an unknown wallet or a wrong secret: the same answer to all."""

    status, code = 401, "invalid_api_key"


class KeyDisabled(Refusal):
    status, code = 403, "key_disabled"


class KeyExpired(Refusal):
    status, code = 403, "key_expired"


class ModelNotAllowed(Refusal):
    """The model is sold here, and this key may not use it."""

    status, code = 403, "model_not_allowed"


class NotPermitted(Refusal):
    """A deed on keys that takes the main key, the recovery code or an operator."""

    status, code = 403, "not_permitted"


class NotFound(Refusal):
    status, code = 404, "not_found"


class MethodNotAllowed(Refusal):
    status, code = 405, "method_not_allowed"


class BodyTimeout(Refusal):
    status, code = 408, "body_timeout"


class BodyTooLarge(Refusal):
    status, code = 413, "request_too_large"


class UnsupportedEncoding(Refusal):
    status, code = 415, "unsupported_encoding"


class UpgradeRefused(Refusal):
    """WebSocket is not served; Codex goes on over HTTP at once when it reads 426."""

    status, code = 426, "upgrade_refused"


class OutOfBalance(Refusal):
    """The free balance does not cover what the request requires.

    429 with `x-should-retry: false` is the one answer that every client takes at once for what it
    is; 402 and 503 make agents repeat for minutes.
    """

    status, code = 429, "insufficient_balance"


class CapReached(Refusal):
    """The cap of a sub-key leaves less than the request requires; the wallet may well have it.

    To a client it is what an empty balance is: it stops at once.
    """

    status, code = 429, "cap_reached"


class LimitReached(Refusal):
    """The key goes too fast; `headers` tell its limits as clients know them."""

    status, code, retry = 429, "rate_limit_exceeded", True

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: int | None = None,
        details: dict[str, object] | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, details=details)
        self.headers = headers


class Unpriced(Refusal):
    status, code, fault = 503, "model_unavailable", Fault.GATEWAY


class LedgerUnavailable(Refusal):
    status, code, fault, retry = 503, "ledger_unavailable", Fault.LEDGER, True
    retry_after_default_s = 2


class RecordsUnavailable(Refusal):
    """What is asked for stands in the books, and they do not answer; inference needs them not."""

    status, code, fault, retry = 503, "records_unavailable", Fault.GATEWAY, True
    retry_after_default_s = 2


class UpstreamFault(RequestError):
    """Something on the provider's side; `charged` stays false unless the hold was settled above
    zero."""

    status, code, fault, retry = 502, "upstream_error", Fault.UPSTREAM, True
    retry_after_default_s: ClassVar[int | None] = 2
    blame: str = "broken"
    """Whose fault it is among request, credential, account and provider (`wire.verdict.Blame`)."""
    wait_s: float | None = None
    """The pause that the upstream asked for."""


class UpstreamRefused(UpstreamFault):
    """The provider's own 4xx about the client's request: `upstream_status`. Its body is relayed as
    it came, unless it names the operator's account (`wire.refusal.Relayed`)."""

    status, code, fault, retry = 400, "upstream_refused", Fault.CLIENT, False
    blame = "request"
    retry_after_default_s = None

    def __init__(self, message: str, *, upstream_status: int = 400) -> None:
        super().__init__(message)
        self.upstream_status = upstream_status


class UpstreamOverloaded(UpstreamFault):
    status, code = 429, "upstream_overloaded"
    blame = "busy"
    retry_after_default_s = 5


class UpstreamUnavailable(UpstreamFault):
    status, code = 502, "upstream_unavailable"


class UpstreamCut(UpstreamFault):
    """In a stream alone: what came of the answer is charged, the rest never came."""

    status, code = 502, "upstream_cut"


class UpstreamTimeout(UpstreamFault):
    status, code = 504, "upstream_timeout"
    blame = "slow"


class SlowReader(RequestError):
    """In a stream alone: its client took no byte for too long."""

    status, code, fault = 408, "slow_reader", Fault.CLIENT


class GatewayStopping(RequestError):
    """The process was told to stop, and the time that running requests have is over."""

    status, code, fault, retry = 503, "gateway_stopping", Fault.GATEWAY, True
    retry_after_default_s = 1
