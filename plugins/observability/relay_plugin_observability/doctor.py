"""What `relay doctor` says of each exporter: whether it can write or reach its endpoint, its state, what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_plugin_observability.atif.exporter import AtifExporter
    from relay_plugin_observability.exporter import AtofExporter
    from relay_plugin_observability.streams.exporter import StreamExporter

__all__ = ["examine", "examine_atif", "examine_file", "examine_stream"]

_CHECK_TIME = 3.0


def examine(exporter: Any) -> list[dict[str, Any]]:
    """Examine one exporter of this plugin.

    Args:
        exporter: one that the plugin has installed.

    Returns:
        Rows with ``check``, ``ok`` and ``detail``.

    Example:
        >>> import tempfile
        >>> from relay_plugin_observability import AtofExporter
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     examine(AtofExporter(f"{folder}/e.jsonl"))[0]["ok"]
        True
    """
    name = type(exporter).__name__
    if name == "AtofExporter":
        return [examine_file(exporter)]
    if name == "StreamExporter":
        return [examine_stream(exporter)]
    if name == "AtifExporter":
        return [examine_atif(exporter)]
    return exporter.examine()


def examine_file(exporter: AtofExporter) -> dict[str, Any]:
    """Say whether the file can be written; creates nothing."""
    problem = exporter.sink.check()
    stats = exporter.stats()
    return {
        "check": "atof file",
        "ok": problem is None and not stats.dropped,
        "detail": f"{str(exporter.path)!r}: {problem or 'writable'}; state {stats.state}, "
        f"written {stats.written}, dropped {_in_words(stats.dropped)}",
    }


def examine_stream(exporter: StreamExporter) -> dict[str, Any]:
    """Say whether the endpoint can be reached; sends no event."""
    problem = exporter.check(_CHECK_TIME)
    stats = exporter.stats()
    return {
        "check": exporter.name.replace(":", " "),
        "ok": problem is None and not stats.dropped,
        "detail": f"{exporter.place}: {problem or 'reachable'}; state {stats.state}, delivered {stats.delivered}, "
        f"pending {stats.pending}, failed attempts {stats.failures}, dropped {_in_words(stats.dropped)}",
    }


def examine_atif(exporter: AtifExporter) -> dict[str, Any]:
    """Say whether documents can be written, and sent where they should go."""
    problems = exporter.check()
    stats = exporter.stats()
    sent = "".join(
        f"; {place}: delivered {one.delivered}, pending {one.pending}, failed attempts {one.failures}, "
        f"dropped {_in_words(one.dropped)}"
        for place, one in stats.uploads.items()
    )
    return {
        "check": "atif documents",
        "ok": not problems and not stats.failed and not any(one.dropped for one in stats.uploads.values()),
        "detail": f"{str(exporter.directory)!r}: {'; '.join(problems) or 'writable'}; written {stats.written}, "
        f"open runs {stats.open_runs}, failed {_in_words(stats.failed)}{sent}",
    }


def _in_words(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "none"
