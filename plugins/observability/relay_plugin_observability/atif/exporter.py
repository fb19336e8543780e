"""The subscriber that writes a trajectory document for each run."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from relay_core.errors import ConfigError
from relay_core.event_reading import read_ahead
from relay_plugin_observability.atif.builder import Builder
from relay_plugin_observability.atif.files import NewFile, publish, write_atomic
from relay_plugin_observability.atif.media import media_name
from relay_plugin_observability.atif.settings import AtifSettings, expand_document_name
from relay_plugin_observability.atif.storage import File, make_target
from relay_plugin_observability.atif.trail import AgentFacts
from relay_plugin_observability.atif.uploads import Delivery, Outbox, UploadStats
from relay_plugin_observability.paths import process_values, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from relay_core.events import MarkEvent, ScopeEvent
    from relay_plugin_observability.atif.builder import Document

__all__ = ["AtifExporter", "AtifStats", "build"]

_SURE_NAME: Final = "trajectory-{trajectory_id}.json"
_LOG_EVERY: Final = 60.0
_PATIENCE: Final = 5.0  # seconds for closing, where nobody says how long
_TOGETHER: Final = 64  # most documents that go to the disk at once; each is an open file until then
_log = logging.getLogger("relay.observability")


class AtifStats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of runs and their documents: ``documents == written + sum(failed.values())``.

    Attributes:
        documents: finished runs that had something to show.
        written: their documents on the disk.
        failed: those that could not be written, by reason.
        bytes: written, checkpoints included.
        checkpoints: documents of runs that went on.
        media: pictures that were written.
        open_runs: runs that have not ended.
        skipped_events: events that could not be read; each costs a piece of a document.
        late_events: ends of scopes whose run was written already, or whose start was not seen.
        uploads: by destination.
        last_error: the last error of the disk, or None.
    """

    documents: int
    written: int
    failed: dict[str, int]
    bytes: int
    checkpoints: int
    media: int
    open_runs: int
    skipped_events: int
    late_events: int
    uploads: dict[str, UploadStats]
    last_error: str | None


class _Written(NamedTuple):
    """A document that is written and not yet in its place."""

    file: NewFile
    pictures: dict[str, None]
    trajectory_id: str
    session_id: str
    finished: bool


class AtifExporter:
    """Writes Agent Trajectory Interchange Format documents, version 1.7; register it as a subscriber.

    A document is written when its root scope has ended and so has everything below it. `flush` does not wait for open
    scopes below an ended root, `close` not even for roots: their documents say that they are unfinished.

    Args:
        settings: where and what; by default into the working directory.
        clock: seconds, for the pauses between checkpoints.

    Raises:
        ConfigError: the directory does not exist as a place.

    Example:
        >>> import tempfile
        >>> import relay_core
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     relay = relay_core.Relay()
        ...     exporter = AtifExporter(AtifSettings(directory=folder))
        ...     handle = relay.register("subscriber", exporter)
        ...     with relay.scope("trip", "agent"):
        ...         _ = relay.call_tool("search", {"q": "fjords"}, lambda args: "three")
        ...     _ = relay.flush(timeout=2.0)
        ...     exporter.stats().written
        1
    """

    name = "atif"

    def __init__(self, settings: AtifSettings | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings or AtifSettings()
        self._values = process_values()
        # Absolute at once: the program may change its working directory later.
        self.directory = resolve(self.settings.directory, "x", {}).parent
        self._facts = AgentFacts(
            name=self.settings.agent_name,
            version=self.settings.agent_version,
            model_name=self.settings.model_name,
            extra=self.settings.extra,
            payloads=self.settings.payloads,
        )
        self._clock = clock
        self._under_way: dict[Path, _Written] = {}
        self._outboxes = [Outbox(make_target(storage), storage) for storage in self.settings.storage]
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        for written in self._under_way.values():
            written.file.release()
        self._under_way = {}
        store = self._store if self.settings.media else None
        self._builder = Builder(self._take, facts=self._facts, store=store, folder=str(self.directory))
        self._pictures: dict[str, dict[str, None]] = {}
        self._seen: dict[str, int] = {}
        self._next_checkpoint = self._clock() + self.settings.checkpoint
        self._next_log = 0.0
        self._closed = False
        self._documents = self._written = self._bytes = self._checkpoints = self._media = self._skipped = 0
        self._failed: dict[str, int] = {}
        self._last_error: str | None = None

    # -- what a subscriber does ------------------------------------------------------------------------------------

    def on_event(self, event: ScopeEvent | MarkEvent) -> None:
        """Take one event in; never raises."""
        self.on_batch((event,))

    def on_batch(self, events: Sequence[ScopeEvent | MarkEvent]) -> None:
        """Take events in, and write the documents of runs that end with them; never raises."""
        self._adopt()
        with self._lock:
            if self._closed:
                return
            read_ahead(events)
            add = self._builder.add
            for event in events:
                try:
                    add(event)
                except Exception as error:  # noqa: BLE001  # one odd event must not cost the others
                    self._skipped += 1
                    self._complain("an event could not be read", type(error).__name__)
            if self.settings.checkpoint and self._clock() >= self._next_checkpoint:
                self._checkpoint()
                self._next_checkpoint = self._clock() + self.settings.checkpoint
            self._publish()

    def flush(self, timeout: float | None = None) -> bool:
        """Write the documents of runs that have ended, and wait until all that wait for a destination are there.

        Args:
            timeout: seconds; None waits as long as it is tried.

        Returns:
            Whether nothing waits and nothing was lost since the last documents.
        """
        self._adopt()
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._enter(deadline):
            return False
        try:
            self._guarded(self._builder.settle)
            self._publish()
        finally:
            self._lock.release()
        idle = [box.flush(_left(deadline)) for box in self._outboxes]
        return all(idle) and self._last_error is None

    def close(self, timeout: float | None = None) -> None:
        """Write all documents, unfinished ones as such, and stop; later events are ignored.

        Args:
            timeout: seconds for all destinations together; default 5.
        """
        self._adopt()
        deadline = time.monotonic() + (_PATIENCE if timeout is None else timeout)
        if self._enter(deadline):
            try:
                if self._closed:
                    return
                self._guarded(self._builder.finish)
                self._publish()
                self._closed = True
            finally:
                self._lock.release()
        else:
            self._closed = True  # the documents under way are the last
            self._complain("no time to write the documents of runs that go on", "closing")
        for box in self._outboxes:
            box.close(_left(deadline))

    def stats(self) -> AtifStats:
        """Give the account of this process."""
        self._adopt()
        with self._lock:
            return AtifStats(
                documents=self._documents,
                written=self._written,
                failed=dict(self._failed),
                bytes=self._bytes,
                checkpoints=self._checkpoints,
                media=self._media,
                open_runs=len(self._builder),
                skipped_events=self._skipped,
                late_events=self._builder.late,
                uploads={f"{n} {box.target.place}": box.stats() for n, box in enumerate(self._outboxes, 1)},
                last_error=self._last_error,
            )

    def check(self) -> list[str]:
        """Say what would keep documents from being written or sent, without doing either; empty if nothing would."""
        folder = self.directory
        while not folder.exists() and folder.parent != folder:
            folder = folder.parent
        fine = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
        problems = [] if fine else [f"{str(folder)!r} is not a directory in which files can be created"]
        return [*problems, *(text for box in self._outboxes if (text := box.target.check()) is not None)]

    # -- documents -------------------------------------------------------------------------------------------------

    def _take(self, document: Document) -> None:
        """Write a finished document."""
        self._documents += 1
        self._seen.pop(document.trajectory_id, None)
        self._write(document, self._pictures.pop(document.trajectory_id, {}))

    def _send(self, written: _Written) -> None:
        """Queue a document for its destinations."""
        path = written.file.path
        named = {"trajectory_id": written.trajectory_id, "session_id": written.session_id}
        files = [File(path=self.directory / name, name=name, **named) for name in written.pictures]
        files.append(File(path=path, name=path.name, **named))
        delivery = Delivery(files, len(self._outboxes), keep=self.settings.keep_local)
        for box in self._outboxes:
            box.add(delivery)

    def _checkpoint(self) -> None:
        """Write the runs that go on, as far as they have changed."""
        for document in self._builder.unfinished():
            changes = document.trail.changes
            if self._seen.get(document.trajectory_id) != changes:
                self._seen[document.trajectory_id] = changes
                self._write(document, {})

    def _write(self, document: Document, pictures: dict[str, None]) -> None:
        try:
            path = self.directory / self._name(document)
            if path in self._under_way or len(self._under_way) >= _TOGETHER:
                self._publish()
            file = NewFile(path, document.pieces())
        except Exception as error:  # noqa: BLE001  # a full disk, or a document that cannot be encoded
            self._fail(error, document.finished)
            return
        facts = document.trajectory_id, document.session_id, document.finished
        self._under_way[path] = _Written(file, pictures, *facts)

    def _publish(self) -> None:
        """Put what is written in its place, and account for it."""
        if not self._under_way:
            return
        ready, self._under_way = tuple(self._under_way.values()), {}
        publish([written.file for written in ready])
        for written in ready:
            if written.file.error is not None:
                self._fail(written.file.error, written.finished)
                continue
            self._last_error = None
            self._bytes += written.file.size
            if not written.finished:
                self._checkpoints += 1
                continue
            self._written += 1
            if self._outboxes:
                self._send(written)

    def _name(self, document: Document) -> str:
        facts = {
            "trajectory_id": document.trajectory_id,
            "session_id": document.session_id,
            "agent": document.agent,
        }
        try:
            return expand_document_name(self.settings.filename, self._values, facts, document.metadata)
        except ConfigError:  # too long, for instance; the identity alone always does
            return expand_document_name(_SURE_NAME, self._values, facts, {})

    def _store(self, root: str, mime: str, data: bytes) -> str | None:
        """Write a picture beside the documents."""
        name = media_name(root, mime, data)
        path = self.directory / name
        try:
            if not path.exists():
                self._bytes += write_atomic(path, (data,))
                self._media += 1
        except OSError as error:
            self._fail(error, finished=False)
            return None
        self._pictures.setdefault(root, {})[name] = None
        return name

    def _enter(self, deadline: float | None) -> bool:
        """Take the lock; False if another thread writes for longer than there is time."""
        left = _left(deadline)
        return self._lock.acquire(timeout=-1 if left is None else min(left, threading.TIMEOUT_MAX))

    # -- trouble ---------------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # whatever happens, the program must not notice
            self._complain("documents could not be made", type(error).__name__)

    def _fail(self, error: Exception, finished: bool) -> None:
        reason = _reason(error)
        self._last_error = reason
        if finished:
            self._failed[reason] = self._failed.get(reason, 0) + 1
        self._complain(f"cannot write to {str(self.directory)!r}", reason)

    def _complain(self, what: str, why: str) -> None:
        now = time.monotonic()
        if now >= self._next_log:
            self._next_log = now + _LOG_EVERY
            _log.warning("exporter %r: %s (%s)", self.name, what, why)

    def _adopt(self) -> None:
        """Start afresh in a forked child: runs that are open belong to the parent."""
        if self._pid != os.getpid():
            self._reset()


def build(settings: AtifSettings) -> AtifExporter:
    """Make the exporter that the settings ask for.

    Args:
        settings: of ``[plugins.observability.atif]``.

    Raises:
        ConfigError: the directory is no place for files.

    Example:
        >>> build(AtifSettings(directory="runs")).directory.name
        'runs'
    """
    return AtifExporter(settings)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _reason(error: Exception) -> str:
    import errno  # noqa: PLC0415  # only trouble needs it

    code = error.errno if isinstance(error, OSError) else None
    return errno.errorcode.get(code or 0, type(error).__name__)
