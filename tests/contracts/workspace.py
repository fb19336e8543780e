"""The distributions of this repository, found by their folders, and its files."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_OURS = {".git", ".venv", ".tox", "__pycache__", "site", "dist", "build", "relay-demo"}


class Member(NamedTuple):
    """One adapter or plugin."""

    kind: str
    name: str

    @property
    def folder(self):
        return ROOT / f"{self.kind}s" / self.name

    @property
    def distribution(self):
        return f"relay-{self.kind}-{self.name.replace('_', '-')}"

    @property
    def package(self):
        return f"relay_{self.kind}_{self.name}"

    @property
    def is_apart(self):
        """Whether its framework is too large for the common environment; it has environments of its own."""
        return shown(self.folder) in PROJECT["tool"]["uv"]["workspace"]["exclude"]

    @property
    def project(self):
        return tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]


def _members():
    for kind in ("adapter", "plugin"):
        for folder in sorted((ROOT / f"{kind}s").iterdir()):
            if folder.is_dir() and not folder.name.startswith((".", "_")):
                yield Member(kind, folder.name)


MEMBERS = list(_members())
PACKAGES = [ROOT / "relay_core", *(member.folder / member.package for member in MEMBERS)]


def sources(folder):
    return sorted(path for path in folder.rglob("*.py") if not NOT_OURS & set(path.parts))


def project_files():
    """Every file that belongs to the project, committed or not yet; ignored ones do not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def shown(path):
    return path.relative_to(ROOT).as_posix()
