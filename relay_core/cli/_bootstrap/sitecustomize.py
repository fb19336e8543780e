# ruff: noqa: INP001, PTH120  # no package: this directory stands in front of sys.path; pathlib would slow each start
"""Runs at the start of every Python process below `relay run`: first the environment's own sitecustomize, then Relay.

It must load on any Python 3, with or without relay-core, and must never stop a program.
"""

import importlib.machinery
import importlib.util
import os
import sys


def _run_hidden_sitecustomize() -> None:
    """Run the sitecustomize that this one stands in front of, under its own name."""
    here = os.path.realpath(os.path.dirname(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _start_relay() -> None:
    """Configure the default runtime and load the adapters."""
    if os.environ.get("RELAY_DISABLED", "").strip().lower() in ("1", "true", "yes", "on"):
        return
    try:
        import relay_core  # noqa: PLC0415  # it may be missing here
    except ImportError:
        _say("relay-core is not installed for " + sys.executable + "; running without it")
        return
    try:
        out = os.environ.get("_RELAY_RUN_OUT")
        overrides = {"plugins": {"observability": {"atof": {"directory": out}}}} if out else {}
        relay_core.configure(**overrides)
        relay_core.autoload()
    except Exception as error:  # noqa: BLE001  # the program runs in any case
        _say("running without Relay, which could not start: " + type(error).__name__ + ": " + str(error))


def _say(text: str) -> None:
    """Tell the user once: only the process that `relay run` became, not every helper process below it."""
    if os.environ.get("_RELAY_RUN_PID") in (str(os.getpid()), str(os.getppid())):
        sys.stderr.write("relay run: " + "".join(c if c.isprintable() else " " for c in text) + "\n")


if "_RELAY_RUN_PID" in os.environ:  # else somebody imports this file to look at it
    try:
        _run_hidden_sitecustomize()
    finally:
        _start_relay()
