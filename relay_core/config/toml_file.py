"""A configuration file, read with the line of each key, and without trust in what it holds."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any, cast

from relay_core.errors import ConfigError
from relay_core.settings import MAX_DEPTH, join_key

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["key_lines", "read_file"]

MAX_FILE_BYTES = 1_000_000


def read_file(path: Path, shown: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a configuration file.

    Args:
        path: of the file.
        shown: its name in the texts of errors.

    Returns:
        Its content, and the line of each key; see `key_lines`.

    Raises:
        FileNotFoundError: there is none.
        NotADirectoryError: there is none either.
        ConfigError: it cannot be read, or is no TOML.

    Example:
        >>> import os, pathlib
        >>> read_file(pathlib.Path(os.devnull), "nothing")
        ({}, {})
    """
    return _parse(_read(path, shown), shown)


def _read(path: Path, shown: str) -> bytes:
    """Read a file that may be anything: no waiting on a pipe, no endless device, no more than the limit."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode) and str(path) != os.devnull:
                raise ConfigError([f"{shown}: not a regular file"])
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError, ConfigError):
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([f"{shown}: cannot be read: {reason}"]) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([f"{shown}: larger than {MAX_FILE_BYTES} bytes; a configuration file is small"])
    return data


_PART = r"""(?:"(?:\\.|[^"\\\n])*+"|'[^'\n]*+'|[A-Za-z0-9_-]++)"""
# tomllib needs seconds to minutes for a key with thousands of parts.
_ENDLESS_KEY = re.compile(rf"(?<![\w-])(?:{_PART}[ \t]*+\.[ \t]*+){{100}}")


def _parse(raw: bytes, shown: str) -> tuple[dict[str, Any], dict[str, int]]:
    line: int | None = None
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
        endless = _ENDLESS_KEY.search(text)
        if endless is None:
            return tomllib.loads(text), key_lines(text)
        line, what = text.count("\n", 0, endless.start()) + 1, "a key with more than 100 parts"
    except UnicodeDecodeError as error:
        line, what = raw.count(b"\n", 0, error.start) + 1, "not UTF-8; save the file as UTF-8"
    except tomllib.TOMLDecodeError as error:
        what, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        line = int(found[1]) if found else raw.rstrip().count(b"\n") + 1
        what = "not valid TOML: " + what[:1].lower() + re.sub(r"\('(.*)',\)", r"[\1]", what)[1:200]
    except RecursionError:
        what = f"nested deeper than {MAX_DEPTH} levels"
    except ValueError:
        what = "a number or a date is out of range"
    raise ConfigError([f"{shown}: {what}" if line is None else f"{shown}:{line}: {what}"])


_KEY = re.compile(rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART})*+")
_BLANK = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*+")
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*+"|'[^'\n]*+'|#[^\n]*+|[\[{\]}\n]|[^"'#\[\]{}\n]++''',
    re.DOTALL,
)


def key_lines(text: str) -> dict[str, int]:
    r"""Find the line of every table and key; ``tomllib`` gives no places and ``tomlkit`` none either.

    Keys inside an inline table or an array have no line of their own: the line is that of the key before it.

    Args:
        text: a valid TOML document with ``\n`` line ends.

    Returns:
        The line of each dotted key; elements of an array of tables are ``key[0]``, ``key[1]``, ...

    Example:
        >>> key_lines("[queue]\n# many\nmax_events = 5\n")
        {'queue': 1, 'queue.max_events': 3}
    """
    lines: dict[str, int] = {}
    arrays: dict[str, int] = {}
    table, position, line = "", 0, 1
    while (start := cast("re.Match[str]", _BLANK.match(text, position)).end()) < len(text):
        line += text.count("\n", position, start)
        brackets = 2 if text.startswith("[[", start) else int(text[start] == "[")
        position = start + brackets
        key = _KEY.match(text, cast("re.Match[str]", _BLANK.match(text, position)).end())
        if key is None:
            break
        parts = [
            tomllib.loads(f"key = {part}")["key"] if part[0] in "\"'" else part for part in re.findall(_PART, key[0])
        ]
        position = _end_of_statement(text, key.end())
        path = "" if brackets else table
        for index, part in enumerate(parts):
            path = join_key(path, part)
            last = index == len(parts) - 1
            if brackets == 2 and last:
                lines.setdefault(path, line)
                arrays[path] = arrays.get(path, -1) + 1
            if path in arrays:
                path = f"{path}[{arrays[path]}]"
            if last or path not in lines:
                lines[path] = line
        table = path if brackets else table
        line += text.count("\n", start, position)
    return lines


def _end_of_statement(text: str, position: int) -> int:
    depth = 0
    while token := _TOKEN.match(text, position):
        if token[0] == "\n" and depth <= 0:
            break
        depth += (token[0] in "[{") - (token[0] in "]}")
        position = token.end()
    return position
