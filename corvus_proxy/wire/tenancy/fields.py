"""The members of a request that touch the upstream account, and what becomes of each.

One account serves many customers there. What it stores, whom it bills, and by which names it tells
people apart is shared by all of them, so a member that reaches any of this is refused by its name,
sent as null where clients work without it, or made the customer's own (`names`). docs/tenancy.md
shows this table. Members that stand in neither table pass as they came.
"""

from enum import StrEnum
from typing import NamedTuple

from corvus_proxy.wire.dialect import Dialect


class Deed(StrEnum):
    """What is done about a member; the value is the word in docs."""

    REFUSED = "refused"
    """400 with the member's name, unless its value is among those that are served."""
    NULLED = "sent as null"
    FORCED = "sent as false"
    """Whatever its client says of it, and where it says nothing."""
    OWN = "made the customer's own"
    """Another text takes its place: the same for the same text of one wallet, and for no other."""


class Field(NamedTuple):
    """One member and what becomes of it. `served` are values, as written in JSON, that pass all the
    same; null always does."""

    member: str
    deed: Deed
    why: str
    served: tuple[bytes, ...] = ()


_FALSE, _NONE = (b"false",), (b"[]",)
_STORED = "It reaches what is stored on the account."
_PEOPLE = (
    "By it the provider tells people apart, and may block one: two customers may use one name."
)
_CACHE = "Whose prompts are cached shows by the time that an answer takes."
_ELSEWHERE = "The answer is made, or billed, later and elsewhere."
_AUDIO = "Audio is not priced here."
_SECOND = "It is billed as an answer of its own."
_COMPARES = "It compares with an earlier request of the account."
_LABELS = "Labels of what is stored on the account; nothing is."

TABLE: dict[Dialect, tuple[Field, ...]] = {
    Dialect.CHAT: (
        Field("audio", Deed.REFUSED, _AUDIO),
        Field("background", Deed.REFUSED, _ELSEWHERE, _FALSE),
        Field("store", Deed.REFUSED, _STORED, _FALSE),
        Field("web_search_options", Deed.REFUSED, "It searches, at a cost not priced here."),
        Field("metadata", Deed.NULLED, _LABELS),
        Field("prompt_cache_options.comparison_response_id", Deed.NULLED, _COMPARES),
        Field("prompt_cache_key", Deed.OWN, _CACHE),
        Field("request_id", Deed.OWN, "Z.AI's name of a request, one for the whole account."),
        Field("safety_identifier", Deed.OWN, _PEOPLE),
        Field("user", Deed.OWN, _PEOPLE),
        Field("user_id", Deed.OWN, _PEOPLE),
    ),
    Dialect.MESSAGES: (
        Field("billing_policy", Deed.REFUSED, "It names who pays for the request."),
        Field("compaction", Deed.REFUSED, _SECOND),
        Field("container", Deed.REFUSED, _STORED),
        Field("fallback_credit_token", Deed.REFUSED, "It stands for money of the account."),
        Field("fallbacks", Deed.REFUSED, "Another model answers, at its own price.", _NONE),
        Field("mcp_servers", Deed.REFUSED, "Its tools run, and cost, at the provider.", _NONE),
        Field("thread", Deed.REFUSED, _STORED),
        Field("user_profile_id", Deed.REFUSED, "It names a person known to the account."),
        Field("workspace_id", Deed.REFUSED, "It chooses a part of the account."),
        Field("diagnostics", Deed.NULLED, _COMPARES),
        Field("metadata.user_id", Deed.OWN, _PEOPLE),
    ),
    Dialect.RESPONSES: (
        Field(
            "access_programs",
            Deed.REFUSED,
            "It asks for what the provider has granted to the account.",
            (b'{"cyber":"standard"}', b'{"cyber": "standard"}'),
        ),
        Field("background", Deed.REFUSED, _ELSEWHERE, _FALSE),
        Field("background_options", Deed.REFUSED, _ELSEWHERE),
        Field("container", Deed.REFUSED, _STORED),
        Field("context_management", Deed.REFUSED, _SECOND, _NONE),
        Field("conversation", Deed.REFUSED, _STORED),
        Field("generate", Deed.REFUSED, "It is a turn of a WebSocket.", (b"true",)),
        Field("modalities", Deed.REFUSED, "Only text is priced here.", (b'["text"]',)),
        Field(
            "multi_agent",
            Deed.REFUSED,
            "Agents work at the provider, as many and as long as they like.",
            (b'{"enabled":false}', b'{"enabled": false}'),
        ),
        Field("previous_response_id", Deed.REFUSED, _STORED),
        Field("prompt", Deed.REFUSED, _STORED),
        Field("stream_id", Deed.REFUSED, _STORED),
        Field("store", Deed.FORCED, _STORED),
        Field("metadata", Deed.NULLED, _LABELS),
        Field("prompt_cache_options.comparison_response_id", Deed.NULLED, _COMPARES),
        Field("prompt_cache_key", Deed.OWN, _CACHE),
        Field("safety_identifier", Deed.OWN, _PEOPLE),
        Field("user", Deed.OWN, _PEOPLE),
    ),
    Dialect.EMBEDDINGS: (Field("user", Deed.OWN, _PEOPLE),),
}


_REFUSED = {
    dialect: tuple(one for one in rows if one.deed is Deed.REFUSED)
    for dialect, rows in TABLE.items()
}


REFUSED_NAMES = {
    dialect: frozenset(one.member for one in rows) for dialect, rows in _REFUSED.items()
}
"""Their names: most requests have none of them."""


def refused(dialect: Dialect) -> tuple[Field, ...]:
    """The members of a dialect that are refused."""
    return _REFUSED[dialect]
