"""Run the benchmark kit in the folder that RELAY_BENCH_KIT names, with this project's own peer modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("nemo_relay", "otel")


def main(arguments: list[str]) -> int:
    """Make the peers' environments where they are missing, then measure; without the kit say so."""
    kit = os.environ.get("RELAY_BENCH_KIT")
    if not kit:
        print("no benchmark kit: set RELAY_BENCH_KIT to its folder")
        return 0
    env = {**os.environ, "RELAY_BENCH_PYTHON": sys.executable, "RELAY_BENCH_PEERS": str(ROOT / "tests" / "benchmarks")}
    for command in (["bash", f"{kit}/setup.sh", *PEERS], [sys.executable, f"{kit}/micro/run.py", *arguments]):
        code = subprocess.run(command, env=env, check=False).returncode  # noqa: S603  # the kit was named on purpose
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
