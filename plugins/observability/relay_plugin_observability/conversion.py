"""Recorded events into documents on disk, for `relay convert`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Final

import msgspec

from relay_core.errors import RelayError
from relay_core.trajectory import TrajectoryError
from relay_plugin_observability.atif.convert import convert_file
from relay_plugin_observability.atif.files import write_atomic

__all__ = ["convert"]

_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST: Final = 80


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
    files: dict[str, bytes] = {}
    for document in made.documents:
        name = _plain_name(str(document["session_id"]))
        if f"{name}.atif.json" in files:  # two runs of one session
            name = f"{name}-{_plain_name(str(document['trajectory_id']))}"
        files[f"{name}.atif.json"] = msgspec.json.format(msgspec.json.encode(document))
    try:
        for name, data in {**made.media, **files}.items():
            write_atomic(Path(folder, name), (data,))
    except OSError as error:
        raise RelayError(f"{folder!r}: {error.strerror or error}") from None
    return {
        "format": form,
        "written": [str(Path(folder, name)) for name in files],
        "skipped_lines": made.skipped,
    }


def _plain_name(text: str) -> str:
    """Make a file name of what a recording says: it cannot leave the folder, and two texts keep two names."""
    plain = _ODD.sub("-", text).lstrip(".")[:_LONGEST]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"
