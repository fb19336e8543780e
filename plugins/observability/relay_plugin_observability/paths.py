"""Where an exporter's file goes: file name templates that cannot leave their directory."""

from __future__ import annotations

import os
import re
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from relay_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_FILENAME", "expand_filename", "process_values", "resolve"]

DEFAULT_FILENAME = "events-{timestamp}-{pid}.jsonl"

_LONGEST_NAME = 200  # bytes; file systems allow 255, and a suffix such as .torn follows
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE | re.DOTALL)
# ASCII separators and what looks like one, the Windows drive colon, and other characters Windows refuses.
_FORBIDDEN = re.compile(r"[/\\:*?\"<>|\u2044\u2215\u29f5\u29f8\ufe68\uff0f\uff3c]")


def process_values() -> dict[str, str]:
    """Return the values that a template may name: timestamp, pid and host.

    Example:
        >>> sorted(process_values())
        ['host', 'pid', 'timestamp']
    """
    host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return {
        "timestamp": datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ"),
        "pid": str(os.getpid()),
        "host": host or "localhost",
    }


def expand_filename(template: str, values: Mapping[str, str], *, key: str = "filename") -> str:
    """Fill a file name template and make sure that the result is one plain name.

    Args:
        template: text with placeholders such as ``{pid}``; ``{{`` and ``}}`` are literal braces.
        values: what the placeholders stand for.
        key: the setting's name, for the error text.

    Raises:
        ConfigError: an unknown placeholder, or a name that could leave its directory or that some system refuses.

    Example:
        >>> expand_filename("run-{pid}.jsonl", {"pid": "42"})
        'run-42.jsonl'
        >>> expand_filename("{pid}.jsonl", {"pid": "../42"})
        Traceback (most recent call last):
            ...
        relay_core.errors.ConfigError: 1 configuration problem:
          filename: the value of {pid} is '../42', which contains '/'; use letters, digits, '.', '-' and '_'
    """
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError([f"{key}: {template!r} is no template ({error}); write literal braces twice"]) from None
    parts: list[str] = []
    for literal, field, spec, conversion in pieces:
        parts.append(literal)
        if field is None:
            continue
        if field not in values or spec or conversion:
            known = ", ".join(f"{{{name}}}" for name in sorted(values))
            raise ConfigError([f"{key}: unknown placeholder in {template!r}; the placeholders are {known}"])
        _check_characters(values[field], f"{key}: the value of {{{field}}}")
        parts.append(values[field])
    return _check_name("".join(parts), key)


def resolve(directory: str | os.PathLike[str], template: str, values: Mapping[str, str]) -> Path:
    """Return the path of a templated file in its directory.

    Args:
        directory: the directory; ``~`` is the home directory.
        template: see `expand_filename`.
        values: see `expand_filename`.

    Raises:
        ConfigError: the name is refused, or the file is a symbolic link, which could lead out of the directory.
    """
    folder = os.fspath(directory)
    if not folder or "\0" in folder:
        raise ConfigError([f"directory: {folder!r} is no directory; give a path, '.' is the current directory"])
    try:
        # Absolute at once: the program may change its working directory later.
        path = Path(folder).expanduser().absolute() / expand_filename(template, values)
    except (RuntimeError, OSError):
        raise ConfigError(
            [f"directory: {folder!r} starts from a home or current directory that does not exist; give a full path"]
        ) from None
    if path.is_symlink():
        raise ConfigError([f"filename: {str(path)!r} is a symbolic link; remove it or choose another name"])
    return path


def _check_characters(text: str, what: str) -> None:
    found = _FORBIDDEN.search(text)
    bad = found.group() if found else next((char for char in text if not char.isprintable()), None)
    if bad is not None:
        raise ConfigError([f"{what} is {text!r}, which contains {bad!r}; use letters, digits, '.', '-' and '_'"])


def _check_name(name: str, key: str) -> str:
    _check_characters(name, f"{key}: the name")
    cure = "use letters, digits, '.', '-' and '_'"
    if not name.strip(". ") or ".." in name.split():
        raise ConfigError([f"{key}: {name!r} is no file name; {cure}"])
    if name.startswith("~") or name != name.strip() or name.endswith("."):
        raise ConfigError([f"{key}: {name!r} starts or ends with a character that systems treat specially; {cure}"])
    if _RESERVED.fullmatch(name):
        raise ConfigError([f"{key}: {name!r} is a device on Windows; choose another name"])
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise ConfigError([f"{key}: the name has more than {_LONGEST_NAME} bytes; shorten it"])
    return name
