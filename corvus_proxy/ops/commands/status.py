"""`corvus status …`: what the worker has measured, and the operator's word on it."""

from typing import Any

from cyclopts import App

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.commands.common import (
    Common,
    Deed,
    actor,
    on_stores,
    say,
    settings_of,
    would,
)

app = App(name="status", help="The measured status and its incidents.")


@app.command
def show(*, common: Common | None = None) -> None:
    """How each part stands, and which incidents there were."""
    import msgspec

    from corvus_proxy import clock
    from corvus_proxy.service import status as service

    common = common or Common()
    settings = settings_of(common)
    if not settings.status.dir:
        raise ConfigurationError(
            "status.dir is not set: the worker's own port alone has the status"
        )
    found = service.Folder(settings.status.dir).document()
    if found is None:
        raise ConfigurationError(f"{settings.status.dir}: no worker has published a status here")
    if service.is_stale(found, clock.wall_ms()):
        found = service.as_unknown(found)
    lines = [f"{found.generated_at}  {found.state.value}"]
    lines += [
        f"{one.state.value:9} {one.title}  {one.since or '-'}  {one.detail}".rstrip()
        for one in found.components
    ]
    for one in found.incidents:
        lines.append(
            f"{one.id}  {one.started_at} to {one.ended_at or 'now'}  {one.detail}".rstrip()
        )
        lines += [f"    {note.at}  {note.text}" for note in one.notes]
    say(common, msgspec.to_builtins(found), "\n".join(lines))


@app.command
def note(incident: str, text: str, *, deed: Deed | None = None) -> None:
    """Puts a note to an incident; the page shows it within a minute. None can be taken back.

    Parameters
    ----------
    incident
        Its id, as `corvus status show` and the page tell it.
    text
        One paragraph for customers.
    """
    from corvus_proxy.service import status as service
    from corvus_proxy.service.status.document import iso

    common = deed or Deed()
    if common.dry_run:
        would(common, f"put a note to {incident}", incident=incident, text=text)
        return
    folder = service.Folder(settings_of(common).status.dir)

    async def add(stores: Any) -> Any:
        return await service.note(stores, folder, incident, text, actor=actor())

    made = on_stores(common, add)
    document = {"incident": incident, "at": iso(made.at_ms), "text": made.text}
    say(common, document, f"{incident}  {document['at']}  {made.text}")
