"""An upstream's refusal of a translated request, in the caller's words. Pure.

Its sentence is passed on: it says what is wrong, and agents act upon the words for a prompt that is
too long.
"""

from typing import Any

import msgspec

from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.translate.events import decoded

TOO_LONG = "prompt is too long"
"""How Anthropic says it; OpenAI's word is the code below."""
TOO_LONG_CODE = "context_length_exceeded"
_MESSAGES_TYPES = {404: "not_found_error", 413: "request_too_large"}


def body(caller: Dialect, status: int, upstream: bytes, request_id: str) -> bytes:
    """The JSON body of an error of status `status` whose body at the upstream is `upstream`."""
    found = decoded(upstream).get("error")
    error: dict[str, Any] = found if isinstance(found, dict) else {}
    message = str(error.get("message") or "The upstream refused the request.")
    code = error.get("code")
    too_long = code == TOO_LONG_CODE or TOO_LONG in message.lower()
    if caller is Dialect.MESSAGES:
        if too_long and TOO_LONG not in message.lower():
            message = f"{TOO_LONG}: {message}"
        kind = _MESSAGES_TYPES.get(status, "invalid_request_error")
        told: dict[str, Any] = {
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": request_id,
        }
    else:
        told = {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": TOO_LONG_CODE if too_long else code,
            }
        }
    return msgspec.json.encode(told)
