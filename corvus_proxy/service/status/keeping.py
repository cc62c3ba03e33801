"""The worker's turn: asks, judges, remembers, and gives the document that is published.

Rule 1: what cannot be kept (a full disk, books away) is told in the log and does not stop the
measuring: the page goes on from memory.
"""

import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books.db import Books
from corvus_proxy.books.status import UNANSWERED
from corvus_proxy.service.status.document import Document, make, stale_after_s
from corvus_proxy.service.status.folder import Folder
from corvus_proxy.service.status.machine import Change, Machine
from corvus_proxy.service.status.probes import Prober, within
from corvus_proxy.service.status.remembering import bring_together
from corvus_proxy.service.status.types import WORSE, Reading, State
from corvus_proxy.settings import Settings

_log = structlog.get_logger()


class Keeper:
    """The history of one installation, in its folder and in the books."""

    def __init__(self, settings: Settings, prober: Prober, folder: Folder) -> None:
        self._settings = settings
        self._prober = prober
        self._folder = folder
        self._machine = Machine(
            prober.components,
            folder.history(),
            confirm=settings.status.failures,
            settle_s=(settings.status.failures - 1) * settings.status.probe_s * 0.8,
            gap_s=stale_after_s(settings),
        )
        self._apart = True
        """The books may have what the history has not, or the reverse."""

    def document(self) -> Document:
        """What is known at this moment."""
        machine = self._machine
        return make(self._settings, machine.components, machine.history, clock.wall_ms())

    async def tick(self) -> Document:
        """One round. Raises nothing that a part of the service does."""
        store = Books(self._settings.database.url, connections=2)
        try:
            readings = await self._prober.readings(store)
            self._judge(readings)
            await self._remember(store)
        finally:
            await store.close()
        try:
            self._folder.keep(self._machine.history)
        except OSError as error:
            _log.error("status_not_kept", why=str(error))
        return self.document()

    def _judge(self, readings: dict[str, Reading]) -> None:
        machine = self._machine
        machine.components = self._prober.components
        for change in machine.take(readings, clock.wall_ms()):
            self._tell(change)
        for name, standing in machine.history.standings.items():
            metrics.STATUS.labels(name).set(WORSE.index(standing.state))

    async def _remember(self, store: Books) -> None:
        history = self._machine.history
        self._folder.take_notes(history)
        whole, self._apart = self._apart, True
        work = bring_together(store, history, clock.wall_ms(), whole=whole)
        try:
            await within(self._settings.status.timeout_s, work)
            self._apart = False
        except UNANSWERED as error:
            _log.info("status_not_in_books", why=str(error))

    def _tell(self, change: Change) -> None:
        say = _log.info if change.after is State.OK else _log.warning
        say(
            "status_changed",
            component=change.component.id,
            before=change.before.value,
            after=change.after.value,
            why=change.reading.why,
        )
