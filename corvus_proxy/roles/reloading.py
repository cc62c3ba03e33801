"""A changed configuration file changes the upstreams of a running gateway process.

Rule 1: only `[[upstream]]` is taken; every other option wants a restart, and the log says so.
Rule 2: a file that the start would have refused changes nothing; the log says why.
Rule 3: nothing that runs is touched: a request ends with what it began with.

The file is looked at, not a signal listened for: the processes of a gateway are reached by one
change alike, also where they run in containers, and the server keeps SIGHUP for itself.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from corvus_proxy import metrics
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import Settings, load

Stamp = tuple[object, ...]
_log = structlog.get_logger()


class Reloader:
    """Looks at the configuration and at the files of upstreams' keys, and applies what changed."""

    def __init__(
        self,
        path: Path | None,
        settings: Settings,
        apply: Callable[[Settings], None],
        *,
        since: Stamp,
    ) -> None:
        """To be made before the keys in `settings` are read; `since` is the file's stamp from
        before `settings` were: what changes meanwhile is seen by the first look."""
        self._path = path
        self._settings = settings
        self._apply = apply
        self._watched = settings
        """Whose files of keys are looked at: also those of a refused configuration, which may only
        lack one."""
        self._stamp = (since, *_stamps(settings))

    async def run(self, every: Callable[[], None]) -> None:
        """Looks every `pool.reload_s`, for as long as the process lives; calls `every` each
        time. No defect ends it."""
        while True:
            await asyncio.sleep(self._settings.pool.reload_s or 2.0)
            try:
                every()
                if self._settings.pool.reload_s:
                    self.look()
            except Exception:  # nobody would look again, and nobody would know
                metrics.RELOADS.labels("refused").inc()
                _log.exception("reload_failed")

    def look(self) -> None:
        """Applies the configuration where it has changed since the last look."""
        if self._path is None:
            return
        stamp = (stamp_of(self._path), *_stamps(self._watched))
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            found = load(self._path)
            # Before the keys are read, and with the file's stamp from before it was: no change is
            # missed, whenever it comes.
            self._watched, self._stamp = found, (stamp[0], *_stamps(found))
            self._apply(found)
        except ConfigurationError as error:
            metrics.RELOADS.labels("refused").inc()
            _log.error("reload_refused", why=str(error))
            return
        rest = [
            section
            for section in Settings.__struct_fields__
            if section != "upstream" and getattr(found, section) != getattr(self._settings, section)
        ]
        if rest:
            _log.warning("restart_needed", sections=rest)
        self._settings = found
        metrics.RELOADS.labels("applied").inc()
        _log.info("reloaded", credentials=[
            f"{upstream.family}/{credential.name}"
            for upstream in found.upstream for credential in upstream.credential
        ])  # fmt: skip


def stamp_of(path: Path | None) -> Stamp:
    """What changes when the file does."""
    if path is None:
        return ()
    try:
        found = path.stat()
    except OSError:
        return (str(path),)
    return (str(path), found.st_mtime_ns, found.st_size, found.st_ino)


def _stamps(settings: Settings) -> list[Stamp]:
    """The stamps of all files of upstreams' keys."""
    return [
        stamp_of(Path(credential.secret_file))
        for upstream in settings.upstream
        for credential in upstream.credential
        if credential.secret_file
    ]
