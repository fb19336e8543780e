"""Names of the files that hold a document's pictures: by content, in a folder of the document's own."""

from __future__ import annotations

import hashlib
import re

from relay_plugin_observability.atif.model import IMAGE_TYPES

__all__ = ["media_folder", "media_name"]

_ODD = re.compile(r"[^A-Za-z0-9._-]+")


def media_folder(trajectory_id: str) -> str:
    """Name the folder, beside the document.

    Example:
        >>> media_folder("../01b7")
        '-01b7.media'
    """
    return f"{_ODD.sub('-', trajectory_id).lstrip('.')[:80]}.media"


def media_name(trajectory_id: str, mime: str, data: bytes) -> str:
    """Name the file, with its folder; the same picture has the same name.

    Example:
        >>> media_name("01b7", "image/png", b"bytes")
        '01b7.media/277089d91c0bdf4f.png'
    """
    digest = hashlib.sha256(data).hexdigest()[:16]
    return f"{media_folder(trajectory_id)}/{digest}.{IMAGE_TYPES.get(mime, 'bin')}"
