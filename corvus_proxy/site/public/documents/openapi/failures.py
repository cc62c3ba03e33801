"""How operations fail: codes, statuses and bodies, from the error tree itself."""

from collections.abc import Iterable

from corvus_proxy import errors
from corvus_proxy.account.orders import CODES
from corvus_proxy.errors import RequestError, UpstreamFault
from corvus_proxy.site.public.docs.errors import kinds
from corvus_proxy.site.public.docs.samples import STREAM_ALONE
from corvus_proxy.site.public.documents.openapi.shapes import Schema, ref
from corvus_proxy.wire import refusal
from corvus_proxy.wire.dialect import Dialect


def _of_account() -> tuple[type[RequestError], ...]:
    """What an endpoint that sends nothing upstream can refuse with."""
    inference = (
        errors.OutOfBalance, errors.CapReached, errors.WrongDialect, errors.GatewayStopping,
        errors.UnsupportedEncoding, errors.UpgradeRefused, errors.ModelNotAllowed,
    )  # fmt: skip
    left_out = (*inference, UpstreamFault)
    return tuple(kind for kind in kinds() if not issubclass(kind, left_out))


CODE_LIST = [kind.code for kind in kinds()]
SCHEMAS: dict[str, Schema] = {
    "ErrorCode": {"type": "string", "enum": CODE_LIST},
    "OrderErrorCode": {"type": "string", "enum": list(CODES)},
    "Error": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": ref("ErrorCode"),
                    "request_id": {"type": "string"},
                    "docs_url": {"type": "string", "format": "uri"},
                    "charged": ref("Usd"),
                },
                "required": ["message", "type", "code", "request_id", "docs_url", "charged"],
            }
        },
        "required": ["error"],
    },
    "MessagesError": {
        "type": "object",
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "message": {"type": "string"},
                    "code": ref("ErrorCode"),
                    "docs_url": {"type": "string", "format": "uri"},
                    "charged": ref("Usd"),
                },
                "required": ["type", "message", "code", "docs_url", "charged"],
            },
            "request_id": {"type": "string"},
        },
        "required": ["type", "error", "request_id"],
    },
    "OrderError": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "code": ref("OrderErrorCode"),
                    "message": {"type": "string"},
                    "param": {"type": "string"},
                    "docs_url": {"type": "string", "format": "uri"},
                },
                "required": ["code", "message"],
            }
        },
        "required": ["error"],
    },
}
_DIALECTS = {"chat": Dialect.CHAT, "messages": Dialect.MESSAGES, "account": Dialect.CHAT}
"""In whose words, by the name of the response; an account endpoint speaks as chat does, or as
messages does to a client that names its `anthropic-version`."""


def _statuses(name: str) -> dict[str, list[str]]:
    """Codes by status."""
    found: dict[str, list[str]] = {}
    answered: Iterable[type[RequestError]] = _of_account() if name == "account" else kinds()
    for kind in answered:
        if kind.code in STREAM_ALONE:  # under status 200, as the stream's last event
            continue
        status = str(refusal.status(_DIALECTS[name], kind("")))
        if issubclass(kind, errors.UpstreamRefused):
            status = "4XX"
        found.setdefault(status, []).append(kind.code)
    return dict(sorted(found.items()))


def failures(name: str) -> dict[str, Schema]:
    """References to the responses of one kind of endpoint: `chat`, `messages` or `account`."""
    return {
        status: {"$ref": f"#/components/responses/{name}{status}"} for status in _statuses(name)
    }


def responses() -> dict[str, Schema]:
    """All shared responses, and those of orders."""
    found: dict[str, Schema] = {}
    for name, dialect in _DIALECTS.items():
        schema = "MessagesError" if dialect is Dialect.MESSAGES else "Error"
        bodies = [ref(schema), ref("MessagesError")] if name == "account" else [ref(schema)]
        for status, codes in _statuses(name).items():
            said = ", ".join(f"`{code}`" for code in codes)
            if status == "4XX":
                said += ": the vendor's own refusal, with its status and body"
            found[f"{name}{status}"] = _response(said, *(bodies if status != "4XX" else [{}]))
    return {**found, **{f"order{status}": one for status, one in _of_orders().items()}}


def of_orders() -> dict[str, Schema]:
    """References to the refusals of orders."""
    return {status: {"$ref": f"#/components/responses/order{status}"} for status in _of_orders()}


def _of_orders() -> dict[str, Schema]:
    found: dict[str, list[str]] = {}
    for code, (status, meaning) in CODES.items():
        found.setdefault(str(status), []).append(f"`{code}`: {meaning}")
    return {status: _response(" ".join(said), ref("OrderError")) for status, said in found.items()}


def _response(description: str, *schemas: Schema) -> Schema:
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": list(schemas)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
