"""The operator's word on an incident. It stands beside what was measured and changes none of it."""

import json

from corvus_proxy import clock
from corvus_proxy.books import status as books
from corvus_proxy.books import wallets
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.service.status.folder import Folder
from corvus_proxy.service.status.types import Note, instant
from corvus_proxy.service.stores import Stores

TEXT_MAX = 1000
"""Characters of a note."""


async def note(
    stores: Stores, folder: Folder, incident: str, text: str, *, actor: str = "cli"
) -> Note:
    """Puts a note to an incident; the page has it with the next round. While the books are away it
    waits in the folder. Raises LookupError (no such incident), ValueError, BooksUnavailable (and
    there is no folder)."""
    text = " ".join(text.split())
    if not 0 < len(text) <= TEXT_MAX:
        raise ValueError(f"a note has from 1 to {TEXT_MAX} characters")
    made = Note(clock.wall_ms(), text)
    try:
        async with stores.books.transaction() as connection:
            if await books.knows(connection, incident):
                row = books.NoteRow(incident, instant(made.at_ms), text)
                await books.put_notes(connection, [row])
                await wallets.insert_audit(
                    connection,
                    actor=actor,
                    action="status.note",
                    subject=incident,
                    details=json.dumps({"text": text}),
                )
                return made
    except BooksUnavailable:
        if folder.path is None:
            raise
    document = folder.document()
    if document is None or all(one.id != incident for one in document.incidents):
        raise LookupError(f"there is no incident {incident}; `corvus status show` lists them")
    folder.add_note(incident, made)
    return made
