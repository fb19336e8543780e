"""Build the named distributions, each by way of its sdist, and install the wheels into this environment.

python .ci/wheels.py . adapters/langchain[agents]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(targets: list[str]) -> None:
    """Build and install; ends with the exit code of what failed."""
    with tempfile.TemporaryDirectory() as folder:
        wheels: list[str] = []
        for number, target in enumerate(targets):
            path, bracket, extra = target.partition("[")
            out = Path(folder, str(number))
            _run("uv", "build", "--quiet", "--out-dir", str(out), str(ROOT / path))
            (wheel,) = out.glob("*.whl")
            wheels.append(f"{wheel}{bracket}{extra}")
        _run("uv", "pip", "install", "--quiet", *wheels)


def _run(*command: str) -> None:
    code = subprocess.run(command, check=False).returncode  # noqa: S603  # our own words
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
