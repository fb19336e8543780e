"""`PluginContract`: what every plugin must keep, as a test class to subclass."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import msgspec
import pytest

from relay_core.errors import Blocked
from relay_core.runtime import Relay
from relay_core.settings import PluginEntry
from relay_core.testing.assertions import assert_accounts_settled
from relay_core.testing.contracts import Contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from relay_core.middleware import Handle
    from relay_core.plugins import PluginRecord

__all__ = ["PluginContract"]

_PATIENCE = 2.0  # seconds for a plugin's threads to end


class _Footprint(NamedTuple):
    """What a plugin has put into a runtime and the process."""

    registrations: tuple[Any, ...]
    resolvers: tuple[Any, ...]
    codecs: frozenset[str]
    threads: frozenset[str]
    files: frozenset[str]


class _Refusing(Relay):
    """A runtime that refuses the registration with this number, counted from zero."""

    def __init__(self, refused: int) -> None:
        super().__init__()
        self._refused = refused
        self.asked = 0

    def register(self, kind: Any, fn: Any, **options: Any) -> Handle:
        number, self.asked = self.asked, self.asked + 1
        if number == self._refused:
            raise RuntimeError(f"the contract refuses registration number {number}")
        return super().register(kind, fn, **options)


class PluginContract(Contract):
    """Tests that every plugin passes. Subclass it in a test module, with a name that pytest collects.

    Attributes:
        name: the plugin's entry point in the group ``relay.plugins``.

    Example:
        >>> class TestAudit(PluginContract):
        ...     name = "audit"
        ...
        ...     def config(self, directory):
        ...         return {"file": str(directory / "audit.log")}
    """

    name: ClassVar[str]

    def config(self, directory: Path) -> Mapping[str, Any]:
        """Give a configuration with which the plugin starts; everything it writes belongs under `directory`."""
        del directory
        return {}

    # -- fixtures and helpers ------------------------------------------------------------------------------------------

    @pytest.fixture
    def runtimes(self) -> Iterator[Callable[..., Any]]:
        """Give a function that makes runtimes; all are shut down at the end."""
        made: list[Relay] = []

        def make(kind: Callable[[], Relay] = Relay) -> Relay:
            made.append(kind())
            return made[-1]

        yield make
        for runtime in made:
            runtime.shutdown(timeout=5.0)

    def entry(self, directory: Path, **extra: Any) -> PluginEntry:
        """Give the plugin's entry of a configuration."""
        directory.mkdir(parents=True, exist_ok=True)
        return PluginEntry(self.name, config={**self.config(directory), **extra})

    def activate(self, runtime: Relay, directory: Path) -> PluginRecord:
        """Turn the plugin on, which must work."""
        entry = self.entry(directory)
        problems = runtime.plugins.prepare([entry])
        assert not problems, f"the configuration of the contract is refused: {problems}"
        (record,) = runtime.plugins.activate([entry])
        assert record.state == "active", f"plugin {self.name!r} does not start: {record.error}"
        return record

    def exercise(self, runtime: Relay) -> None:
        """Run a little of everything; a plugin may block calls, and must break nothing."""
        with runtime.scope("contract", "agent", input={"n": 1}):
            runtime.mark("step", {"n": 1})
            with suppress(Blocked):
                runtime.call_tool("contract_tool", {"value": "x"}, dict)
            with suppress(Blocked):
                runtime.call_llm("contract", {"model": "m", "messages": []}, dict, model="m")
        assert not runtime.flush(timeout=5.0).timed_out, f"plugin {self.name!r} keeps events for more than 5 s"
        assert_accounts_settled(runtime)

    def footprint(self, runtime: Relay, directory: Path) -> _Footprint:
        """Take down what is registered, and which threads and files below `directory` are open."""
        return _Footprint(
            tuple(entry.label for entry in runtime._global.entries),
            tuple(map(id, runtime._resolvers)),
            frozenset(str(name) for name in runtime.codecs.names()),
            frozenset(f"{t.name} ({t.ident})" for t in threading.enumerate() if not t.name.startswith("relay-")),
            frozenset(_open_files(directory)),
        )

    def check_gone(self, runtime: Relay, directory: Path, before: _Footprint) -> None:
        """Check that nothing is left of the plugin; its threads have a moment to end."""
        deadline = time.monotonic() + _PATIENCE
        while (left := self._left(runtime, directory, before)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not left, f"plugin {self.name!r} left behind: {'; '.join(left)}"

    def _left(self, runtime: Relay, directory: Path, before: _Footprint) -> list[str]:
        now = self.footprint(runtime, directory)
        pairs = zip(_Footprint._fields, now, before, strict=True)
        return [f"{field} {sorted(set(a) - set(b), key=str)}" for field, a, b in pairs if set(a) - set(b)]

    # -- the contract --------------------------------------------------------------------------------------------------

    def test_entry_point_loads(self, runtimes: Callable[..., Any], tmp_path: Path) -> None:
        """The entry point names a plugin whose hooks are right, and importing it turns nothing on."""
        runtime: Relay = runtimes()
        known = {record.name for record in runtime.plugins.discover()}
        assert self.name in known, f"no entry point {self.name!r} in the group relay.plugins; there are {sorted(known)}"
        before = self.footprint(runtime, tmp_path)
        record = runtime.plugins.load(self.name)
        assert record.state == "enabled", f"plugin {self.name!r} cannot be loaded: {record.error}"
        self.check_gone(runtime, tmp_path, before)

    def test_config_names_the_nearest_key(self, runtimes: Callable[..., Any], tmp_path: Path) -> None:
        """A misspelt key of the configuration is refused, with the right one in the text."""
        runtime: Relay = runtimes()
        record = runtime.plugins.load(self.name)
        if "relay_config_schema" not in record.hooks:
            given = self.config(tmp_path)
            assert not given, f"plugin {self.name!r} takes {sorted(given)} but has no relay_config_schema to check them"
            pytest.skip("the plugin takes no configuration")
        schema: Any = runtime.plugins._slot(self.name).call("relay_config_schema")
        fields = sorted((field.encode_name for field in msgspec.structs.fields(schema)), key=len)
        if not fields:
            pytest.skip("the schema of the plugin has no keys")
        problems = runtime.plugins.prepare([self.entry(tmp_path, **{fields[-1] + "_": 1})])
        wanted = f"did you mean {fields[-1]}"
        assert any(wanted in problem for problem in problems), f"{wanted!r} is not in {problems}"

    def test_deactivation_leaves_nothing(self, runtimes: Callable[..., Any], tmp_path: Path) -> None:
        """Turned on, used and turned off, several times: no registration, thread or open file stays."""
        runtime: Relay = runtimes()
        before = self.footprint(runtime, tmp_path)
        for _ in range(3):
            record = self.activate(runtime, tmp_path)
            self.exercise(runtime)
            assert runtime.plugins.deactivate(self.name)
            assert record.error is None, f"plugin {self.name!r}: {record.error}"
            self.check_gone(runtime, tmp_path, before)
            self.exercise(runtime)

    def test_failing_activation_rolls_back(self, runtimes: Callable[..., Any], tmp_path: Path) -> None:
        """Whichever of its registrations is refused, the plugin is off and nothing of it stays."""
        counting: Any = runtimes(lambda: _Refusing(-1))
        self.activate(counting, tmp_path / "counted")
        counting.shutdown(timeout=5.0)
        if not counting.asked:
            pytest.skip("the plugin registers nothing")
        for number in range(counting.asked):
            runtime: Relay = runtimes(lambda refused=number: _Refusing(refused))
            directory = tmp_path / str(number)
            before = self.footprint(runtime, directory)
            (record,) = runtime.plugins.activate([self.entry(directory)])
            assert record.state == "failed", f"plugin {self.name!r} is {record.state} though a registration was refused"
            self.check_gone(runtime, directory, before)
            self.exercise(runtime)

    def test_shutdown_twice_is_harmless(self, runtimes: Callable[..., Any], tmp_path: Path) -> None:
        """The runtime may be shut down twice, and so may the plugin."""
        runtime: Relay = runtimes()
        record = self.activate(runtime, tmp_path)
        slot = runtime.plugins._slot(self.name)
        context = slot.context
        self.exercise(runtime)
        for _ in range(2):
            report = runtime.shutdown(timeout=5.0)
            assert not report.timed_out, f"plugin {self.name!r} takes more than 5 s to shut down"
        assert not runtime.plugins.deactivate(self.name)
        slot.call("relay_shutdown", relay=context, timeout=1.0)
        assert record.error is None, f"plugin {self.name!r}: {record.error}"

    def test_runtimes_are_isolated(self, runtimes: Callable[..., Any], tmp_path: Path) -> None:
        """On in one runtime, off in another; turning it off in one leaves the other alone."""
        one: Relay = runtimes()
        two: Relay = runtimes()
        there = tmp_path / "two"
        untouched = self.footprint(two, there)
        self.activate(one, tmp_path / "one")
        assert self.footprint(two, there)[:3] == untouched[:3], f"plugin {self.name!r} registers beyond its own runtime"
        record = self.activate(two, there)
        whole = self.footprint(two, there)
        one.plugins.deactivate(self.name)
        assert self.footprint(two, there)[:3] == whole[:3], f"off in one runtime, plugin {self.name!r} went in another"
        assert record.state == "active"
        self.exercise(one)
        self.exercise(two)

    def test_doctor_and_commands_answer(self, runtimes: Callable[..., Any], tmp_path: Path) -> None:
        """What ``relay doctor`` shows of the plugin has its form, and its commands have names."""
        runtime: Relay = runtimes()
        self.activate(runtime, tmp_path)
        for row in runtime.plugins.doctor():
            assert row["check"] != "relay_doctor", f"relay_doctor of plugin {self.name!r} failed: {row['detail']}"
            assert isinstance(row["check"], str)
            assert isinstance(row["ok"], bool)
            assert isinstance(row["detail"], str)
        assert all(command.name for command in runtime.plugins.commands())


def _open_files(directory: Path) -> Iterator[str]:
    """Give the open files below a directory, where the system tells."""
    with suppress(OSError):
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208  # a Path per entry is no help here
            with suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115  # see above
                if Path(target).is_relative_to(directory):
                    yield target
