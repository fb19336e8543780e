"""`relay run`: an unchanged program, with adapters and configuration turned on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click

from relay_core.cli.output import CommandError, echo_json, json_option
from relay_core.cli.text import safe

__all__ = ["BOOTSTRAP", "command", "environment"]

BOOTSTRAP: Final = Path(__file__).with_name("_bootstrap")
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The configuration to use.")
@click.option("--adapters", metavar="A,B", help="Only these adapters. Default: all that are installed.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Write events to files in DIR.")
@json_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGS]...")
def command(
    config: Path | None, adapters: str | None, out: Path | None, words: tuple[str, ...], *, as_json: bool
) -> None:
    """Run a program, unchanged, under Relay.

    COMMAND is any command, a Python script, or -m MODULE. Every Python process of it loads the configuration and the
    adapters before its own code; programs in other languages just run. Standard input and output, signals and the exit
    code are the program's own. Python started with -I, -E or -S ignores the environment and runs without Relay.

    With --json nothing is run: the command and the environment variables are written.
    """
    words = words[1:] if words[:1] == ("--",) else words
    if not words:
        raise click.UsageError("name the program to run, for instance: relay run -- python app.py")
    _check(config, out)
    added = environment(config, adapters, out)
    program = _program(words)
    if as_json:
        echo_json({"command": program, "environment": added})
        return
    _hint(config, out)
    _execute(program, {**os.environ, **added})


def environment(config: Path | None, adapters: str | None, out: Path | None) -> dict[str, str]:
    """Give the variables that turn Relay on in every Python process below.

    Args:
        config: the configuration file.
        adapters: names of adapters, with commas.
        out: where event files go.
    """
    old = os.environ.get("PYTHONPATH")
    path = f"{BOOTSTRAP}{os.pathsep}{old}" if old else str(BOOTSTRAP)
    added = {"PYTHONPATH": path, "_RELAY_RUN_PID": str(os.getpid())}
    if config is not None:
        added["RELAY_CONFIG"] = str(config.absolute())
    if adapters is not None:
        added["RELAY_ADAPTERS"] = adapters
    if out is not None:
        added["_RELAY_RUN_OUT"] = str(out.absolute())
    return added


def _check(config: Path | None, out: Path | None) -> None:
    """Say what is wrong before the program runs, not from inside it."""
    from importlib.metadata import entry_points  # noqa: PLC0415  # not needed for --help

    from relay_core.cli.state import quiet  # noqa: PLC0415  # see above
    from relay_core.config import load  # noqa: PLC0415  # see above
    from relay_core.plugins import PluginHost  # noqa: PLC0415  # see above
    from relay_core.runtime import Relay  # noqa: PLC0415  # see above

    quiet()
    load(config, check_plugins=PluginHost(Relay()).section_problems)
    if out is None:
        return
    if not any(point.name == "observability" for point in entry_points(group="relay.plugins")):
        raise CommandError("--out needs the exporter for event files: pip install relay-plugin-observability")
    if out.exists() and not out.is_dir():
        raise CommandError(f"--out: {str(out)!r} is no directory")


def _hint(config: Path | None, out: Path | None) -> None:
    from relay_core.config import load  # noqa: PLC0415  # see _check

    if out is None and sys.stderr.isatty() and not load(config).settings.plugins:
        click.echo("relay run: no exporter is configured, so events go nowhere; --out DIR writes them", err=True)


def _program(words: tuple[str, ...]) -> list[str]:
    first = words[0]
    if first in ("-m", "-c"):
        return [sys.executable, *words]
    if first.startswith("-"):
        raise click.UsageError(f"no such option: {safe(first)}; write -- before the program")
    if first.endswith((".py", ".pyz")) and Path(first).is_file():
        return [sys.executable, *words]
    found = shutil.which(first)
    if found is None:
        exists = os.path.sep in first and Path(first).exists()
        what = "cannot be executed; give it the execute permission" if exists else "is no command and no Python script"
        click.echo(f"relay: {safe(first)!r} {what}", err=True)
        raise SystemExit(_NOT_EXECUTABLE if exists else _NOT_FOUND)
    return [found, *words[1:]]


def _execute(program: list[str], env: dict[str, str]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if hasattr(os, "fork"):
            os.execve(program[0], program, env)  # noqa: S606  # the user asked to run it; no shell is involved
        raise SystemExit(_spawn(program, env))
    except OSError as error:
        click.echo(f"relay: {safe(program[0])!r} cannot be executed: {error.strerror or error}", err=True)
        raise SystemExit(_NOT_EXECUTABLE) from error


def _spawn(program: list[str], env: dict[str, str]) -> int:
    """Where a process cannot become another: wait for it; Ctrl-C reaches both, and the program decides."""
    previous: Any = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(program, env=env, check=False).returncode  # noqa: S603  # see _execute
    finally:
        signal.signal(signal.SIGINT, previous)
