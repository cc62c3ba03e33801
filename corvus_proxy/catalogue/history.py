"""A row's prices through time: what they were, what they are, what is announced.

A row of the file states the present prices. `[[model.history]]` says until when others were in
force, `[[model.change]]` from when others will be, and each names only what is other. A change that
has come into force may stay where it is. Days begin at midnight UTC.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

_LASTING = frozenset(
    {
        "slug",
        "aliases",
        "family",
        "name",
        "upstream_model",
        "context_tokens",
        "output_tokens_max",
        "created",
        "vision",
        "tools",
        "silent_reasoning",
        "completion_tokens_only",
        "embeddings",
    }
)
"""What a model is: no price, and so the same at all times."""


class Span(NamedTuple):
    """A stretch of time and a row as it stands in it."""

    start: date | None
    """The first day (UTC); None: as long as anybody knows."""
    announced: date | None
    """The day on which a change was announced; None for what is not one."""
    stated: frozenset[str]
    """The fields that are stated for this time itself."""
    differs: dict[str, str]
    """Why a component is known to differ from the table that `prices diff` compares with."""
    row: dict[str, Any]
    """All fields of the row, in the shape that a row without history has."""


def spans(raw: dict[str, Any]) -> tuple[Span, ...]:
    """A row's stretches of time, the earliest first. Raises ValueError."""
    row = {name: value for name, value in raw.items() if name not in ("history", "change")}
    stated, differs = frozenset(row), _differs(row, {})
    past, future = _entries(raw, "history", "until"), _entries(raw, "change", "from")
    days = [*(day for day, _ in past), *(day for day, _ in future)]
    if days != sorted(set(days)):
        raise ValueError("history and change stand in the order of their days, each day once")
    found = []
    start: date | None = None
    for until, entry in past:
        found.append(_span(start, None, entry, row, differs))
        start = until
    found.append(Span(start, None, stated, differs, row))
    for start, entry in future:
        announced = entry.pop("announced", None)
        if not _is_day(announced):
            raise ValueError(f"the change of {start} needs the day it was announced")
        # A later change stands on the one before it.
        found.append(_span(start, announced, entry, found[-1].row, found[-1].differs))
    return tuple(found)


def in_force(found: Sequence[Span], day: date) -> int:
    """The place of the span in which a day lies."""
    return max(place for place, span in enumerate(found) if span.start is None or span.start <= day)


def _span(
    start: date | None,
    announced: date | None,
    entry: dict[str, Any],
    row: dict[str, Any],
    known: dict[str, str],
) -> Span:
    stated, differs = frozenset(entry), _differs(entry, known)
    return Span(start, announced, stated, differs, {**row, **entry})


def _entries(raw: dict[str, Any], name: str, day: str) -> list[tuple[date, dict[str, Any]]]:
    found = raw.get(name, [])
    if not isinstance(found, list):
        raise ValueError(f"{name} is a list: [[model.{name}]]")  # noqa: TRY004
    out = []
    for entry in found:
        rest = dict(entry)
        when = rest.pop(day, None)
        if not _is_day(when):
            raise ValueError(f"each {name} needs `{day}`, a day such as 2026-11-23")
        if lasting := sorted(_LASTING & rest.keys()):
            raise ValueError(f"{name} of {when}: {lasting[0]} is the model's own and no price")
        out.append((when, rest))
    return out


def _differs(row: dict[str, Any], known: dict[str, str]) -> dict[str, str]:
    """Takes `differs` out of a row that may state its own."""
    found = row.pop("differs", known)
    if not isinstance(found, dict) or not all(isinstance(why, str) for why in found.values()):
        raise ValueError('differs is a table such as { cache_read = "why" }')
    return found


def _is_day(value: object) -> bool:
    return isinstance(value, date) and not isinstance(value, datetime)
