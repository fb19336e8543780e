"""The documents of every scenario, as text. ``python -m tests.plugins.observability.atif.goldens`` writes them anew."""

from __future__ import annotations

import json
from pathlib import Path

from relay_plugin_observability.atif import convert_events
from tests.plugins.observability.scenarios import SCENARIOS, play

FOLDER = Path(__file__).parent / "golden"


def documents_of(name):
    """The documents of a scenario, in the order in which the runs ended."""
    return convert_events(play(name)).documents


def rendered(name):
    """A scenario's golden file."""
    made = convert_events(play(name))
    whole = {"documents": made.documents, "media": {path: len(data) for path, data in sorted(made.media.items())}}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def every_trajectory(documents):
    """Documents and all that is embedded in them."""
    for document in documents:
        yield document
        yield from every_trajectory(document.get("subagent_trajectories", ()))


def write_all():
    FOLDER.mkdir(exist_ok=True)
    for name in SCENARIOS:
        (FOLDER / f"{name}.json").write_text(rendered(name))


if __name__ == "__main__":
    write_all()
