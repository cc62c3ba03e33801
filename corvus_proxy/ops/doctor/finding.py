"""What a check has to say."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One check. `level`: ok, warning or error."""

    check: str
    level: str
    text: str
