"""Fuzz one target, led by coverage: ``python -m tests.fuzz.fuzz TARGET``, then options of libFuzzer.

A finding is written to a file ``crash-...``; give its name in place of the options to run it again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

PACKAGES = [
    "relay_core",
    "relay_adapter_anthropic",
    "relay_adapter_bedrock",
    "relay_adapter_google_genai",
    "relay_adapter_openai",
]


def main() -> None:
    """Start from the seeds, in a folder of their own, unless the arguments name files or folders."""
    with atheris.instrument_imports(include=PACKAGES):
        from tests.fuzz.targets import TARGETS, seeds  # instrumented while they are imported
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"name a target: {', '.join(TARGETS)}")
    name, *options = sys.argv[1:]
    corpus: list[str] = []
    if all(option.startswith("-") for option in options):
        folder = tempfile.mkdtemp(prefix="relay-fuzz-")
        for number, data in enumerate(seeds(name)):
            Path(folder, str(number)).write_bytes(data)
        corpus = [folder]
    atheris.Setup([sys.argv[0], *options, *corpus], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
