"""Recorded events into documents on disk, for `relay convert`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from relay_core.errors import RelayError
from relay_core.trajectory import TrajectoryError
from relay_plugin_observability.atif.convert import convert_file

__all__ = ["convert"]


def convert(source: str, form: str, folder: str) -> dict[str, Any]:
    """Write one document for each run of a recording, and its pictures beside it.

    Args:
        source: the file of events.
        form: the format; ``atif``.
        folder: where they go; made if it is missing.

    Returns:
        ``format``, the paths ``written``, and how many ``skipped_lines`` are no events.

    Raises:
        RelayError: the file cannot be read, or a document cannot be written; nothing half written is left.
    """
    try:
        made = convert_file(source)
    except TrajectoryError as error:
        raise RelayError(str(error)) from None
    documents = {f"{document['session_id']}.atif.json": document for document in made.documents}
    files = {name: msgspec.json.format(msgspec.json.encode(document)) for name, document in documents.items()}
    try:
        for name, data in {**made.media, **files}.items():
            _write(Path(folder, name), data)
    except OSError as error:
        raise RelayError(f"{folder!r}: {error.strerror or error}") from None
    return {
        "format": form,
        "written": [str(Path(folder, name)) for name in files],
        "skipped_lines": made.skipped,
    }


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, for its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
