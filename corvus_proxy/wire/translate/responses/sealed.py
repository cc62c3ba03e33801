"""What a model thought, carried through a client that speaks Responses.

It travels as `encrypted_content`: opaque to the client, in place before the call that it led to,
and given back only to the family that made it. It holds nothing but what that provider sent for
this very answer; a signature inside is the provider's own guard against changes.
"""

import base64
import binascii
from typing import Any

import msgspec

_PREFIX = "corvus1."


class _Thought(msgspec.Struct, omit_defaults=True):
    family: str
    thinking_blocks: list[dict[str, Any]] = []
    reasoning_content: str = ""


def closed(family: str, blocks: list[dict[str, Any]], text: str) -> str:
    """Signed blocks, or else text, of a family as one word."""
    thought = _Thought(family, blocks, "" if blocks else text)
    return _PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(thought)).decode()


def opened(word: str, family: str) -> dict[str, Any]:
    """The members of a chat message that say the same, where it is of this family; else none."""
    if not word.startswith(_PREFIX):
        return {}
    try:
        raw = base64.b64decode(word[len(_PREFIX) :], altchars=b"-_", validate=True)
        thought = msgspec.json.decode(raw, type=_Thought)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if thought.family != family:
        return {}
    if thought.thinking_blocks:
        return {"thinking_blocks": thought.thinking_blocks}
    return {"reasoning_content": thought.reasoning_content} if thought.reasoning_content else {}
