"""docs/translation.md says the fate of each member as the code has it."""

import re
from pathlib import Path

import pytest

from corvus_proxy.wire.translate import chat_to_messages, messages_to_chat
from corvus_proxy.wire.translate.fields import Fates
from corvus_proxy.wire.translate.responses import to_chat

TEXT = (Path(__file__).parents[2] / "docs" / "translation.md").read_text()


@pytest.mark.parametrize(
    ("heading", "fates"),
    [
        ("Chat for Claude", chat_to_messages.FATES),
        ("Messages for GPT", messages_to_chat.FATES),
        ("Responses for Claude", to_chat.FATES),
    ],
)
def test_the_table_of_members_is_current(heading: str, fates: Fates) -> None:
    section = re.split(r"\n## ", TEXT.partition(f"\n## {heading}")[2])[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    found = [sorted(re.findall(r"`(\w+)`", row.rpartition("|")[0].split(" | ")[0])) for row in rows]
    assert found == [sorted(fates.carried), sorted(fates.dropped), sorted(fates.neutral)]
