"""Headers of requests to collectors, from literals, environment variables or files, whose values are never shown."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["HeaderError", "HeaderSource", "HeaderTable", "Headers", "header_problems"]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_LARGEST_VALUE = 64 * 1024


class HeaderError(Exception):
    """A header has no usable value now; the text names the header and its source, never the value."""


class HeaderSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the value of one header comes from; give exactly one of value, env and file.

    `header_problems` says what is wrong with one: a union member that raises would be reported without its reason.

    Args:
        value: the value itself.
        env: the name of an environment variable.
        file: the path of a file; ``~`` is the home directory; space and newlines around its content are taken off.
        prefix: text before the value, such as ``"Bearer "``.

    Example:
        >>> HeaderSource(value="acme").resolve()
        'acme'
        >>> HeaderSource(value="acme")
        HeaderSource(value=***)
    """

    value: str | None = None
    env: str | None = None
    file: str | None = None
    prefix: str = ""

    def __repr__(self) -> str:
        return f"HeaderSource({self.where})" if self.value is None else "HeaderSource(value=***)"

    @property
    def problem(self) -> str | None:
        """What is wrong with this source, whatever the variable or the file holds; None if nothing is."""
        given = [name for name in ("value", "env", "file") if getattr(self, name) is not None]
        if len(given) != 1:
            return 'give exactly one of value, env and file, such as {env = "API_TOKEN"}'
        if not getattr(self, given[0]).strip():
            return f"{given[0]} is empty; write the value, or the name of where it is"
        literal = self.prefix + (self.value or "")
        return None if _one_line(literal) else "the value is not one line of plain text"

    @property
    def where(self) -> str:
        """The source in words, without the value."""
        if self.env is not None:
            return f"environment variable {self.env}"
        return f"file {self.file!r}" if self.file is not None else "a literal"

    def resolve(self) -> str:
        """Read the value now, so that a rotated token is seen.

        Raises:
            HeaderError: the variable is not set, the file cannot be read, or the value is blank or not one line.
        """
        if self.problem:
            raise HeaderError(self.problem)
        value = self._read().strip()
        if not value:
            raise HeaderError(f"{self.where} is empty")
        if not _one_line(self.prefix + value):
            raise HeaderError(f"{self.where} holds characters that a header cannot carry, such as a newline")
        return self.prefix + value

    def _read(self) -> str:
        if self.value is not None:
            return self.value
        if self.env is not None:
            found = os.environ.get(self.env)
            if found is None:
                raise HeaderError(f"{self.where} is not set")
            return found
        try:
            with Path(self.file or "").expanduser().open("rb") as stream:
                content = stream.read(_LARGEST_VALUE + 1)
            if len(content) > _LARGEST_VALUE:
                raise HeaderError(f"{self.where} is larger than a header can be")
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise HeaderError(f"{self.where} is not text") from None
        except (OSError, RuntimeError, ValueError) as error:
            what = getattr(error, "strerror", None) or type(error).__name__
            raise HeaderError(f"{self.where} cannot be read ({what})") from None


HeaderTable = dict[str, str | HeaderSource]
"""How headers stand in the configuration: ``{X-Tenant = "acme", Authorization = {env = "TOKEN", prefix = "Bearer "}}``."""


class Headers:
    """The headers of one endpoint; neither ``repr`` nor an error shows a value.

    Args:
        table: names, and for each a literal or a source.

    Example:
        >>> headers = Headers({"X-Tenant": "acme"})
        >>> headers
        Headers('X-Tenant')
        >>> headers.resolve()
        {'X-Tenant': 'acme'}
    """

    def __init__(self, table: Mapping[str, str | HeaderSource] | None = None) -> None:
        self._table = {
            name: source if isinstance(source, HeaderSource) else HeaderSource(value=source)
            for name, source in (table or {}).items()
        }

    def __repr__(self) -> str:
        return f"Headers({', '.join(map(repr, self._table))})"

    def resolve(self) -> dict[str, str]:
        """Read every value now.

        Raises:
            HeaderError: a header has no value; the text names it and its source.
        """
        values: dict[str, str] = {}
        for name, source in self._table.items():
            try:
                values[name] = source.resolve()
            except HeaderError as error:
                raise HeaderError(f"header {name}: {error}") from None
        return values

    def check(self) -> str | None:
        """Say which header has no value now; None if all have one."""
        try:
            self.resolve()
        except HeaderError as error:
            return str(error)
        return None


def header_problems(
    table: Mapping[str, str | HeaderSource], *, reserved: Iterable[str] = (), key: str = "headers"
) -> list[str]:
    """Say what is wrong with a table of headers, one line each, without any value.

    Args:
        table: as it stands in the configuration.
        reserved: names that the exporter sets itself, in lower case.
        key: the setting's name, for the texts.

    Example:
        >>> header_problems({"X Tenant": "acme", "Host": "x"}, reserved=["host"])
        ["headers: 'X Tenant' is no header name; use letters, digits and '-'", 'headers: Host is set by the exporter']
    """
    problems: list[str] = []
    seen: dict[str, str] = {}
    taken = set(reserved)
    for name, source in table.items():
        folded = name.lower()
        if not _NAME.fullmatch(name):
            problems.append(f"{key}: {name[:80]!r} is no header name; use letters, digits and '-'")
        elif folded in taken:
            problems.append(f"{key}: {name} is set by the exporter")
        elif folded in seen:
            problems.append(f"{key}: {name} and {seen[folded]} are one header; keep one of them")
        wrong = (HeaderSource(value=source) if isinstance(source, str) else source).problem
        if wrong:
            problems.append(f"{key}: {name[:80]!r}: {wrong}")
        seen.setdefault(folded, name)
    return problems


def _one_line(text: str) -> bool:
    return all(char == "\t" or (char.isprintable() and ord(char) < 256) for char in text)
