"""Every code of an error body, in the words of whoever reads it: what it means, what to do.

Status, type, whether to ask again and what is charged are not said here: they are the error's own
(`errors.py`, `money.outcome`). A test holds this table to the codes that there are.
"""

from typing import NamedTuple

from corvus_proxy.money.outcome import Outcome
from corvus_proxy.site.render import outcome

HELP = "/docs/troubleshooting"
_KEY = f"{HELP}/invalid-api-key"
_BALANCE = f"{HELP}/out-of-balance"
_SLOW = f"{HELP}/request-timeout"
_VENDOR = f"{HELP}/upstream-provider-unavailable"


def ended(code: Outcome) -> str:
    """How a request ended, in a customer's words; a refusal has no row in the dashboard."""
    if code is Outcome.REFUSED_ADMISSION:
        return "refused before it began"
    return outcome(code).words


class Note(NamedTuple):
    """What is said about one code."""

    means: str
    """One sentence."""
    does: tuple[str, ...]
    """What to do, in order."""
    help: str = HELP
    """The page that goes on from here."""
    outcomes: tuple[Outcome, ...] = (Outcome.REFUSED_ADMISSION,)
    """How a request ends that is told this."""


NOTES: dict[str, Note] = {
    "internal_error": Note(
        "A defect of the gateway. What was held for the request is given back.",
        (
            "Ask again once, by hand: most such defects hang on one request.",
            "If it comes again, tell support the `request_id`.",
        ),
        outcomes=(Outcome.GATEWAY_FAULT,),
    ),
    "invalid_request": Note(
        "The body is malformed, or has a member that cannot be served or billed.",
        (
            "Read `param`: it names the member. The message says why.",
            "Take that member out, or give it the value that the message names.",
            "A tool that runs at the vendor is refused by its type; one that your client runs is"
            " served.",
        ),
        f"{HELP}/tool-creation-failed",
    ),
    "wrong_endpoint": Note(
        "The model is sold here and not served on this path.",
        (
            "Use the path that the message names.",
            "Embeddings are made on `/v1/embeddings` alone, and nothing else is made there.",
        ),
        "/docs/api/models",
    ),
    "invalid_api_key": Note(
        "No key came, or one that was mistyped, or one that nobody has.",
        (
            "Send the key as `Authorization: Bearer …` or as `x-api-key`, and only one key.",
            "Copy it again, whole: a mistyped one is noticed by its checksum.",
            "Look at what your client really reads: another variable may hold an old key.",
        ),
        _KEY,
    ),
    "key_disabled": Note(
        "The key is frozen or revoked, or its secret was changed.",
        (
            "Was its secret changed? Use the new one.",
            "A frozen key is opened with its recovery code, on the dashboard's page of keys.",
            "A revoked key stays so. The owner of the main key, or support, can say why.",
        ),
        _KEY,
        (Outcome.REFUSED_ADMISSION, Outcome.KEY_DISABLED),
    ),
    "key_expired": Note(
        "The key has reached the end that its owner set.",
        ("Ask the owner of the main key for a later end, or for another key.",),
        _KEY,
    ),
    "model_not_allowed": Note(
        "The owner of the main key has named the models that this key may use; this is another.",
        (
            "`GET /v1/models` with this key lists those that it may use.",
            "The owner can add the model to the key.",
        ),
        "/docs/api/models",
    ),
    "not_permitted": Note(
        "A deed on keys that takes more than this key: the main key, the recovery code, or the"
        " operator.",
        ("Do it with what the message names.",),
        _KEY,
    ),
    "not_found": Note(
        "There is no such path, or no such model. The message says what there is.",
        (
            "A path: compare your base URL with the one in the message.",
            "A model: take its slug from `GET /v1/models`, letter for letter.",
        ),
        HELP,
    ),
    "method_not_allowed": Note(
        "The path is there, and is called with another method.",
        ("Use the method that the message names. A redirect may have turned a POST into a GET.",),
        "/docs/api/overview",
    ),
    "body_timeout": Note(
        "The body of the request stopped coming.",
        (
            "Look at the way to the gateway: a proxy that buffers, a line that breaks.",
            "Send large bodies compressed, or shorten them.",
        ),
        _SLOW,
    ),
    "request_too_large": Note(
        "The body is too large, or its input alone is more than the key's tokens of a minute.",
        (
            "Shorten the conversation, or send smaller images.",
            "If the message speaks of tokens a minute, the owner of the key can raise that limit.",
        ),
        f"{HELP}/image-input-errors",
    ),
    "unsupported_encoding": Note(
        "The body is compressed in a way that is not served.",
        ("Send it in one of those that the message names, or plain.",),
        "/docs/api/overview",
    ),
    "upgrade_refused": Note(
        "The client asked for a WebSocket.",
        ("Use HTTP on the same path. Codex does so by itself.",),
        "/docs/clients/codex-cli",
    ),
    "insufficient_balance": Note(
        "The free balance does not cover the least that this request needs.",
        (
            "Top up at `topup_url`. The same key works again with the next request.",
            "Or ask for less: a limit of `affordable_max_tokens` would have been served.",
            "If `held` is high, requests of yours are still running; what they do not use is free"
            " when they end.",
        ),
        _BALANCE,
        (Outcome.REFUSED_ADMISSION, Outcome.OUT_OF_BALANCE),
    ),
    "cap_reached": Note(
        "This key's own cap leaves less than the request needs. Its wallet may well have money.",
        (
            "Wait until `resets_at`, if there is such an instant.",
            "Or have the owner of the main key raise the cap.",
        ),
        _BALANCE,
        (Outcome.REFUSED_ADMISSION, Outcome.CAP_REACHED),
    ),
    "rate_limit_exceeded": Note(
        "The key's own limit: requests or tokens a minute, or requests at once. `what` tells"
        " which.",
        (
            "Wait as long as `Retry-After` says; official packages do so by themselves.",
            "Send fewer requests at once.",
            "The owner of the main key sets these limits and can raise them.",
        ),
        HELP,
    ),
    "model_unavailable": Note(
        "The model has no upstream here at the moment, or is not sold at its present price.",
        ("Choose another model: `GET /v1/models` lists those that are served now.",),
        _VENDOR,
    ),
    "ledger_unavailable": Note(
        "The ledger is away, or is being checked after a restart. Without it nothing is served.",
        (
            "Wait as long as `Retry-After` says and ask again.",
            "Balances are safe meanwhile: what is not admitted is not charged.",
        ),
        _VENDOR,
        (Outcome.REFUSED_ADMISSION, Outcome.LEDGER_UNAVAILABLE),
    ),
    "records_unavailable": Note(
        "The database of statements and keys is away. Answers of models go on without it.",
        ("Ask again later; `GET /v1/key` tells your balance meanwhile.",),
        HELP,
    ),
    "upstream_error": Note(
        "The vendor answered with something that is no answer.",
        ("Ask again.", "If it goes on, try a model of another family."),
        _VENDOR,
        (Outcome.UPSTREAM_ERROR,),
    ),
    "upstream_refused": Note(
        "The vendor refused the request itself, with its own status. Its body is passed on as it"
        " came, unless it speaks of the operator's account.",
        (
            "Read the vendor's own message: it is about your request.",
            "The same request will be refused again; change it.",
        ),
        f"{HELP}/tool-creation-failed",
        (Outcome.UPSTREAM_REFUSED,),
    ),
    "upstream_overloaded": Note(
        "The vendor is busy, or limits the account that serves you.",
        (
            "Wait as long as `Retry-After` says and ask again; other accounts were tried already.",
            "A model of another family is not touched by it.",
        ),
        _VENDOR,
        (Outcome.UPSTREAM_ERROR,),
    ),
    "upstream_unavailable": Note(
        "The vendor cannot be reached, or failed before it answered.",
        ("Ask again.", "If it goes on, try a model of another family."),
        _VENDOR,
        (Outcome.UPSTREAM_ERROR,),
    ),
    "upstream_cut": Note(
        "In a stream: the vendor ended the answer before it was complete.",
        (
            "Use what came, or ask again; a new request is charged anew.",
            "The last comment of the stream says what the part that came has cost.",
        ),
        _VENDOR,
        (Outcome.UPSTREAM_CUT,),
    ),
    "upstream_timeout": Note(
        "The vendor did not answer in time, or fell silent in the middle.",
        (
            "Ask for less at once: a shorter prompt, a lower output limit, less reasoning.",
            "Stream: an answer that has begun is not ended for its length.",
        ),
        _SLOW,
        (Outcome.UPSTREAM_ERROR, Outcome.GATEWAY_TIMEOUT),
    ),
    "slow_reader": Note(
        "In a stream: your client took no byte for too long.",
        (
            "Read the stream as it comes; do not wait inside the loop that reads it.",
            "If a proxy stands between, have it pass on streams without buffering.",
        ),
        _SLOW,
        (Outcome.SLOW_READER,),
    ),
    "gateway_stopping": Note(
        "This process of the gateway had to stop before the answer was complete.",
        ("Ask again at once: another process serves you.",),
        _SLOW,
        (Outcome.GATEWAY_SHUTDOWN,),
    ),
}
"""The codes of the API port, as the error tree lists them."""

SITE_NOTES: dict[str, Note] = {
    "too_many_orders": Note(
        "Too many orders came from one address.",
        ("Wait as long as `Retry-After` says.", "Pay an order that you have already made."),
        "/checkout",
    ),
    "sales_paused": Note(
        "Nothing is sold at the moment; the message says why.",
        ("Come back later. Keys that you have go on working.",),
        "/checkout",
    ),
    "payment_service_unavailable": Note(
        "The payment service does not answer.",
        ("Choose another way to pay, or try again in a moment.",),
        "/checkout",
    ),
    "books_unavailable": Note(
        "The database of the site does not answer. Nothing was ordered and nothing is lost.",
        ("Try again in a moment. Keys work as before.",),
        HELP,
    ),
    "not_logged_in": Note(
        "The page shows an account, and nobody is logged in.",
        ("Log in with the key. Programs use the key at the API instead: `GET /v1/key`.",),
        "/login",
    ),
}
"""Codes that the site alone answers with: orders by programs, and twins of account pages."""
