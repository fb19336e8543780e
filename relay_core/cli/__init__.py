"""The `relay` command. Each subcommand is a module of its own, imported only when it runs."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from relay_core.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]

# Name, and the help line of `relay --help`, which must not import the subcommand. A test compares the two.
COMMANDS: Final = {
    "demo": "Run an example agent and show what Relay saw.",
    "run": "Run a program, unchanged, under Relay.",
    "view": "Show event files as a tree.",
    "tail": "Follow an event file as it grows.",
    "convert": "Turn an event file into another format.",
    "doctor": "Examine the installation, or an event file.",
    "plugins": "List the installed plugins.",
    "adapters": "List the installed adapters.",
    "config": "Show each setting and where it comes from.",
}


class LazyGroup(click.Group):
    """Knows the subcommands by name; loads the one that runs; turns Relay's errors into one line and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Give the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        """Import one subcommand; what is not built in may come from a plugin."""
        if cmd_name not in COMMANDS:
            from relay_core.cli.state import plugin_commands  # noqa: PLC0415  # only for unknown names

            return next((command for command in plugin_commands() if command.name == cmd_name), None)
        command: click.Command = importlib.import_module(f"relay_core.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """Write the list of subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except RelayError as error:
            if os.environ.get("RELAY_DEBUG", "") not in ("", "0"):
                raise
            from relay_core.cli.text import safe_lines  # noqa: PLC0415  # only on errors

            click.echo(f"relay: {safe_lines(str(error))}", err=True)
            ctx.exit(2)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(package_name="relay-core", prog_name="relay", message="%(prog)s %(version)s")
def cli() -> None:
    """Look at what agents did, and run programs under Relay.

    Exit codes: 0 done; 1 problems were found (doctor) or the command was aborted; 2 wrong usage, configuration or
    input. `relay run` ends with the program's own code, 126 if it cannot be executed, 127 if it does not exist.
    Errors are one line; RELAY_DEBUG=1 shows the traceback. Plugins may add commands; relay plugins names them.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command and exit; the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may hold what the terminal cannot show
    cli.main(args=args, prog_name="relay")
