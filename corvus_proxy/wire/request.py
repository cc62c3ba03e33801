"""Reading an inference request: the members that decide price, hold and routing.

Rule 1: the value that is priced is the value that is sent. A member that stands twice, where
        upstreams may take either, is refused.
Rule 2: a field whose cost is unbounded or unpriced, or that reaches state on the shared upstream
        account, is refused by its name. Every other field passes untouched.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from corvus_proxy._fast import BodyScan, member_quarters, scan_body, scan_members
from corvus_proxy.errors import InvalidRequest
from corvus_proxy.money.price import ORDINARY, Terms
from corvus_proxy.wire import media
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.edits import Splice, first_member
from corvus_proxy.wire.media import Size
from corvus_proxy.wire.openai import embeddings, responses
from corvus_proxy.wire.tenancy import fields, stored
from corvus_proxy.wire.terms import GEOS, MODES


class Tool(msgspec.Struct):
    type: str | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Thinking(msgspec.Struct):
    type: str | None = None
    budget_tokens: int | None = None


class _Chat(msgspec.Struct):
    model: str
    messages: msgspec.Raw
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    tools: list[Tool] | None = None
    modalities: list[str] | None = None
    prediction: dict[str, msgspec.Raw] | None = None


class Edit(msgspec.Struct):
    type: str | None = None


class ContextManagement(msgspec.Struct):
    edits: list[Edit] | None = None


class _Counted(msgspec.Struct):
    model: str
    input: msgspec.Raw = msgspec.Raw(b"null")


class _Messages(msgspec.Struct):
    model: str
    messages: msgspec.Raw
    max_tokens: int
    stream: bool | None = None
    thinking: Thinking | None = None
    tools: list[Tool] | None = None
    context_management: ContextManagement | None = None


class Asked(msgspec.Struct, frozen=True):
    """What a request asks for, in one form for every dialect."""

    dialect: Dialect
    model: str
    stream: bool
    limit_tokens: int | None
    """The client's own output limit for one answer; None where it gave none."""
    limit_member: str
    """The member that carries the limit, or the one to insert when it is None."""
    choices: int
    """How many answers are asked for at once (`n`)."""
    thinking_budget_tokens: int
    include_usage: bool
    """Whether the client itself asked for usage in its stream (chat)."""
    scan: BodyScan
    terms: Terms = ORDINARY
    """Tier, speed and place; whether the model has a price for them is not judged here."""
    limit_quarter_tokens: int = 0
    """Of the scan's: those of the member that carries the limit, which is no input. Without them a
    request costs the same with any limit, and a client can send the one that a refusal tells."""
    image_sizes: tuple[Size, ...] = ()
    """Of those images in the body whose size could be read."""
    vendor_tools: int = 0
    """Tools of the vendor that run at the client: the upstream adds instructions for each."""
    thinks: bool = False
    """Thinking is asked for, of which an answer shows a summary or nothing (messages)."""
    prediction: BodyScan | None = None
    """Of the member that predicts the answer (chat)."""
    splices: tuple[Splice, ...] = ()
    """Edits that the dialect needs, whatever the model."""
    removed_tools: tuple[str, ...] = ()
    """Types of tools that these take out, to be told in a header (responses)."""


class Counted(NamedTuple):
    """A request whose input is to be counted."""

    dialect: Dialect
    model: str
    scan: BodyScan


_COUNTED = msgspec.json.Decoder(_Counted)
_DECODERS: dict[Dialect, Any] = {
    Dialect.CHAT: msgspec.json.Decoder(_Chat),
    Dialect.MESSAGES: msgspec.json.Decoder(_Messages),
    Dialect.RESPONSES: msgspec.json.Decoder(responses.Request),
    Dialect.EMBEDDINGS: msgspec.json.Decoder(embeddings.Request),
}

_SERVED_TOOLS: dict[Dialect, re.Pattern[str]] = {
    Dialect.CHAT: re.compile(r"function|custom"),
    # One without a type is the customer's own.
    Dialect.MESSAGES: re.compile(r"|custom|(?:bash|text_editor|computer|memory)_\d{8}"),
}
"""The types of tools that run at the client; the rest run, and cost, at the upstream."""

SERVED_EDITS = ("clear_",)
"""Edits of the context that only take something away; compaction is a second answer, billed too."""

_TOKENS_MAX = 10_000_000


def read(dialect: Dialect, body: bytes) -> Asked:
    """What `body` asks for. Raises InvalidRequest with the member's name where it can be told."""
    request, scan = _decoded(_DECODERS[dialect], body)
    with refusing_unreadable():
        _refuse_fields(dialect, body, scan)
        asked = _READERS[dialect](request, body, scan)
    if not scan.image_places:
        return asked
    sizes = [media.image_size(body, start, end) for start, end in scan.image_places]
    return msgspec.structs.replace(
        asked, image_sizes=tuple(size for size in sizes if size is not None)
    )


def read_counted(dialect: Dialect, body: bytes) -> Counted:
    """The same for a request whose input is only counted: it needs no output limit. Raises
    InvalidRequest."""
    request, scan = _decoded(_COUNTED, body)
    with refusing_unreadable():
        _refuse_fields(dialect, body, scan)
        if dialect is Dialect.RESPONSES:
            responses.check_items(bytes(request.input))
    return Counted(dialect, request.model, scan)


def _decoded(decoder: Any, body: bytes) -> tuple[Any, BodyScan]:
    try:
        return decoder.decode(body), scan_body(body)
    except RecursionError:
        raise InvalidRequest("The request body is nested too deeply.") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidRequest(f"The request body is not valid: {error}.") from None


@contextlib.contextmanager
def refusing_unreadable() -> Iterator[None]:
    """Around whatever decodes a part that was passed over until then, which may be no text, or
    nested beyond what can be read. Raises InvalidRequest for such a part."""
    try:
        yield
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid: {error}.") from None


class _Metadata(msgspec.Struct):
    user_id: str = ""


_METADATA = msgspec.json.Decoder(_Metadata)


def session_word(asked: Asked, body: bytes) -> bytes:
    """The client's own word in the body for the session that it belongs to, or nothing."""
    members = asked.scan.members
    if (place := members.get("prompt_cache_key")) and body[place[1] : place[1] + 1] == b'"':
        return body[place[1] : place[2]]
    if place := members.get("metadata"):
        try:
            return _METADATA.decode(body[place[1] : place[2]]).user_id.encode()
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return b""  # the upstream will say what it thinks of it
    return b""


def _scan_of(member: str, scan: BodyScan, body: bytes) -> BodyScan | None:
    """Of one member: an object with nothing else counts what it and its comma count in the body."""
    place = scan.members.get(member)
    return scan_body(b"{%b}" % body[place[0] : place[2]]) if place is not None else None


def _quarters_of(member: str, scan: BodyScan, body: bytes) -> int:
    place = scan.members.get(member)
    return member_quarters(body, place[0], place[2]) if place is not None else 0


def usage_splices(asked: Asked, body: bytes) -> list[Splice]:
    """The edit that makes a chat stream report its usage; empty where it does so anyway."""
    if asked.dialect is not Dialect.CHAT or not asked.stream or asked.include_usage:
        return []
    place = asked.scan.members.get("stream_options")
    if place is None:
        at = first_member(body)
        return [Splice(at, at, b'"stream_options":{"include_usage":true},')]
    _, start, end = place
    if body[start : start + 1] != b"{":  # null
        return [Splice(start, end, b'{"include_usage":true}')]
    members, _ = scan_members(body, start, end)
    if "include_usage" in members:
        _, value_start, value_end = members["include_usage"]
        return [Splice(value_start, value_end, b"true")]
    comma = b"," if members else b""
    return [Splice(start + 1, start + 1, b'"include_usage":true' + comma)]


def limit_splices(asked: Asked, body: bytes, limit_tokens: int, member: str) -> list[Splice]:
    """The edit that sends `limit_tokens` as the output limit, under the name `member`."""
    return _limit_splices(asked, body, member, str(limit_tokens).encode())


def rename_splices(asked: Asked, body: bytes, member: str) -> list[Splice]:
    """The edit that gives the output limit the name `member`; empty when it has it or is absent."""
    place = asked.scan.members.get(asked.limit_member)
    if place is None or member == asked.limit_member:
        return []
    return _limit_splices(asked, body, member, body[place[1] : place[2]])


def _limit_splices(asked: Asked, body: bytes, member: str, value: bytes) -> list[Splice]:
    """`value` under the name `member`, which then stands in the body once: of two an upstream may
    take either."""
    place, target = (asked.scan.members.get(name) for name in (asked.limit_member, member))
    if target is not None:
        edits = [Splice(target[1], target[2], value)]
        if place is not None and place != target:
            edits.append(Splice(place[1], place[2], b"null"))  # what stood in the other: no limit
        return edits
    if place is None:
        at = first_member(body)
        return [Splice(at, at, b'"%s":%s,' % (member.encode(), value))]
    name_start, start, end = place
    name_end = body.index(b":", name_start)
    while body[name_end - 1 : name_end] != b'"':  # white space between the name and its colon
        name_end -= 1
    return [Splice(name_start, name_end, b'"%s"' % member.encode()), Splice(start, end, value)]


def model_splices(asked: Asked | Counted, upstream_model: str) -> list[Splice]:
    """The edit that names the upstream's model; empty when the client wrote just that."""
    if asked.model == upstream_model:
        return []
    _, start, end = asked.scan.members["model"]
    return [Splice(start, end, msgspec.json.encode(upstream_model))]


def _refuse_fields(dialect: Dialect, body: bytes, scan: BodyScan) -> None:
    if scan.duplicates:
        name = scan.duplicates[0]
        raise InvalidRequest(f"The member {name!r} stands more than once in the body.", param=name)
    if scan.repeated:
        raise InvalidRequest(
            f"The member {scan.repeated!r} stands more than once in one object.",
            param=scan.repeated,
        )
    if not fields.REFUSED_NAMES[dialect].isdisjoint(scan.members):
        for name, _, why, served in fields.refused(dialect):
            place = scan.members.get(name)
            if place is None:
                continue
            value = body[place[1] : place[2]]
            if value != b"null" and value not in served:
                raise InvalidRequest(f"{name} with this value is not served. {why}", param=name)
    if scan.stored:
        raise stored.refusal(body)


def _terms(dialect: Dialect, body: bytes, scan: BodyScan) -> Terms:
    """How the request asks to be served. Raises InvalidRequest for a word that is not known."""
    if _TERM_NAMES[dialect].isdisjoint(scan.members):
        return ORDINARY
    found = []
    for table in (MODES[dialect], GEOS[dialect]):
        chosen = ""
        for name, words in table.items():
            place = scan.members.get(name)
            if place is None:
                continue
            value = words.get(body[place[1] : place[2]])
            if value is None:
                raise InvalidRequest(
                    f"{name} with this value is not served: its cost is not priced here.",
                    param=name,
                )
            chosen = value or chosen
        found.append(chosen)
    return Terms(*found)


_TERM_NAMES = {dialect: frozenset(MODES[dialect]) | frozenset(GEOS[dialect]) for dialect in MODES}


def _refuse_tools(dialect: Dialect, tools: list[Tool] | None) -> None:
    if not tools:
        return
    for kind in dict.fromkeys([tool.type for tool in tools]):  # of dozens most are alike
        if not _SERVED_TOOLS[dialect].fullmatch(kind or ""):
            if not kind:
                raise InvalidRequest("A tool has no type.", param="tools")
            raise InvalidRequest(
                f"The tool type {kind!r} runs at the upstream, at a cost not priced here;"
                " tools that your client runs itself are served.",
                param="tools",
            )


def _refuse_media(scan: BodyScan, param: str) -> None:
    """What OpenAI's dialects may carry and no price here covers."""
    if scan.audio:
        raise InvalidRequest("Audio input is not priced here and not served.", param=param)
    if scan.long_cache:  # what its writes cost is not known here
        raise InvalidRequest(
            "A prompt cache of 12h is not priced here; 30m is served.", param="prompt_cache_options"
        )


def _chat(request: _Chat, body: bytes, scan: BodyScan) -> Asked:
    _refuse_tools(Dialect.CHAT, request.tools)
    if request.modalities and request.modalities != ["text"]:
        raise InvalidRequest("Only the modality 'text' is served.", param="modalities")
    _refuse_media(scan, "messages")
    _refuse_twice(body, scan, "stream_options", "prompt_cache_options")
    member = "max_completion_tokens" if request.max_tokens is None else "max_tokens"
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise InvalidRequest(
            "max_tokens and max_completion_tokens limit the same thing; give one.", param=member
        )
    limit = getattr(request, member)
    n = 1 if request.n is None else request.n
    if not 1 <= n <= 128:
        raise InvalidRequest("n must be from 1 to 128.", param="n")
    return Asked(
        dialect=Dialect.CHAT,
        model=request.model,
        stream=bool(request.stream),
        limit_tokens=_limit(limit, member, least=1),
        limit_member=member,
        limit_quarter_tokens=_quarters_of(member, scan, body),
        choices=n,
        thinking_budget_tokens=0,
        scan=scan,
        terms=_terms(Dialect.CHAT, body, scan),
        prediction=_scan_of("prediction", scan, body) if request.prediction else None,
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
    )


def _messages(request: _Messages, body: bytes, scan: BodyScan) -> Asked:
    _refuse_tools(Dialect.MESSAGES, request.tools)
    _refuse_twice(body, scan, "thinking", "context_management", "metadata")
    for edit in (request.context_management and request.context_management.edits) or ():
        if edit.type is not None and not edit.type.startswith(SERVED_EDITS):
            raise InvalidRequest(
                f"The edit {edit.type!r} in context_management is billed as an answer of its own,"
                " which is not priced here.",
                param="context_management",
            )
    thinking = request.thinking or Thinking("disabled")
    return Asked(
        dialect=Dialect.MESSAGES,
        model=request.model,
        stream=bool(request.stream),
        limit_tokens=_limit(request.max_tokens, "max_tokens", least=0),
        limit_member="max_tokens",
        limit_quarter_tokens=_quarters_of("max_tokens", scan, body),
        choices=1,
        thinking_budget_tokens=max(0, thinking.budget_tokens or 0),
        thinks=thinking.type != "disabled",
        include_usage=True,
        scan=scan,
        terms=_terms(Dialect.MESSAGES, body, scan),
        vendor_tools=sum(tool.type not in (None, "custom") for tool in request.tools or ()),
    )


def _responses(request: responses.Request, body: bytes, scan: BodyScan) -> Asked:
    _refuse_media(scan, "input")
    _refuse_twice(body, scan, "reasoning", "prompt_cache_options")
    responses.check(request)
    gone = responses.removed(request, body, scan.members.get("tools"))
    limit = _limit(request.max_output_tokens, "max_output_tokens", least=1)
    if request.prompt_cache_options and request.prompt_cache_options.prewarm:
        limit = 0  # the prompt goes into the cache, and nothing is made
    return Asked(
        dialect=Dialect.RESPONSES,
        model=request.model,
        stream=bool(request.stream),
        limit_tokens=limit,
        limit_member="max_output_tokens",
        limit_quarter_tokens=_quarters_of("max_output_tokens", scan, body),
        choices=1,
        thinking_budget_tokens=0,
        include_usage=True,
        scan=scan,
        terms=_terms(Dialect.RESPONSES, body, scan),
        splices=responses.store_splices(body, scan.members.get("store")) + gone.splices,
        removed_tools=gone.tools,
        vendor_tools=gone.vendor_tools,
    )


def _embeddings(request: embeddings.Request, body: bytes, scan: BodyScan) -> Asked:
    embeddings.check(request)
    return Asked(
        dialect=Dialect.EMBEDDINGS,
        model=request.model,
        stream=False,
        limit_tokens=None,
        limit_member="",
        choices=1,
        thinking_budget_tokens=0,
        include_usage=True,
        scan=scan,
    )


_READERS: dict[Dialect, Callable[..., Asked]] = {
    Dialect.CHAT: _chat,
    Dialect.MESSAGES: _messages,
    Dialect.RESPONSES: _responses,
    Dialect.EMBEDDINGS: _embeddings,
}


def _refuse_twice(body: bytes, scan: BodyScan, *names: str) -> None:
    """Refuses what stands twice in one of these objects of the body."""
    for name in names:
        place = scan.members.get(name)
        if place is None or body[place[1] : place[1] + 1] != b"{":
            continue
        _, duplicates = scan_members(body, place[1], place[2])
        if duplicates:
            raise InvalidRequest(
                f"The member {name}.{duplicates[0]} stands more than once.", param=name
            )


def _limit(limit: int | None, name: str, *, least: int) -> int | None:
    if limit is not None and not least <= limit <= _TOKENS_MAX:
        raise InvalidRequest(f"{name} must be from {least} to {_TOKENS_MAX:,}.", param=name)
    return limit
