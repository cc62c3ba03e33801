"""What translation does with each member of a request, and the refusal of what it cannot carry.

Three fates: *carried* (said in the other dialect's words), *dropped* (a hint without which the
answer means the same: labels, caching, routing), and *refused* by name. A member that no table
names is refused: a client learns at once what would otherwise be lost without a word.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from corvus_proxy.errors import InvalidRequest
from corvus_proxy.wire.dialect import Dialect

Json = dict[str, Any]
_Struct = TypeVar("_Struct", bound=msgspec.Struct)
NAME_CHARACTERS = 64
"""The longest name of a function on chat."""
_PLACE = re.compile(r" - at `\$\.?(.*?)`\Z")
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Fates(NamedTuple):
    """The top-level members of a dialect's request on its way to another dialect."""

    carried: frozenset[str]
    dropped: frozenset[str]
    neutral: Mapping[str, tuple[Any, ...]]
    """Members that are refused unless they say what is so without them; null always does."""


def refusal(param: str, why: str) -> InvalidRequest:
    """The refusal of a member: where it stands, and what is wrong with it."""
    return InvalidRequest(f"{param}: {why}", param=param)


def untranslatable(param: str, to: Dialect) -> InvalidRequest:
    """The refusal of a member that has no counterpart."""
    return refusal(
        param,
        f"this model is served by translation to {to.value}, which has no counterpart for it;"
        " leave it out, or call the model on its own path.",
    )


def check(body: bytes, fates: Fates, to: Dialect) -> None:
    """Refuses a request with a member that translation would lose. Raises InvalidRequest."""
    for name, raw in _MEMBERS.decode(body).items():
        if name in fates.carried or name in fates.dropped or bytes(raw) == b"null":
            continue
        value = msgspec.json.decode(raw)
        if not any(value == known and type(value) is type(known) for known in _known(fates, name)):
            raise untranslatable(name, to)


def _known(fates: Fates, name: str) -> tuple[Any, ...]:
    found = fates.neutral.get(name, ())
    # 0 and 0.0 say the same.
    return (*found, *(float(one) for one in found if type(one) is int))


def decode(body: bytes, kind: type[_Struct]) -> _Struct:
    """`body` as a `kind`. Raises InvalidRequest with the place of what is wrong."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        why = _PLACE.sub("", str(error))
        raise refusal(place[1] if place and place[1] else "body", f"{why}.") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid: {error}.") from None


def function_name(name: str) -> str:
    """A tool's name as chat allows it; the same one each time."""
    if len(name) <= NAME_CHARACTERS:
        return name
    return name[: NAME_CHARACTERS - 9] + "_" + hashlib.sha256(name.encode()).hexdigest()[:8]


def present(**members: Any) -> Json:
    """The members that say something: None stands for one that is left out."""
    return {name: value for name, value in members.items() if value is not None}
