"""Plugins: discovery, allow and block lists, activation with rollback, isolation, closing."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
import types
import weakref

import msgspec
import pytest

import relay_core as relay
from relay_core import hookimpl, plugins
from relay_core.plugins import PluginHost, configure, host_of
from relay_core.settings import PluginEntry
from tests.waiting import wait_until_gone


@pytest.fixture
def host(runtime):
    return host_of(runtime)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with entry points for a while: metadata and modules in a folder of sys.path."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def add(distribution, points, **modules):
        folder = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[relay.plugins]", *lines, ""]))
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()

    yield add
    for name in set(sys.modules) - before:
        if name.startswith("acme"):
            del sys.modules[name]


GUARD = """
import relay_core as relay
@relay.hookimpl
def relay_guard_tool(call):
    return relay.Block("acme says no")
"""


class Guard:
    @hookimpl
    def relay_guard_tool(self, call):
        return relay.Block("no")


def states(host):
    return {record.name: record.state for record in host.records()}


def is_blocked(runtime):
    try:
        runtime.call_tool("t", {}, lambda args: None)
    except relay.Blocked:
        return True
    return False


# -- discovery --------------------------------------------------------------------------------------------------------


def test_installed_is_not_imported_and_not_enabled(install, host, runtime):
    install("acme-dist", {"acme_one": "acme_one", "acme_two": "acme_two"}, acme_one=GUARD, acme_two="1/0")
    found = {record.name: record for record in host.discover()}
    assert (found["acme_one"].state, found["acme_one"].distribution, found["acme_one"].version) == (
        "installed",
        "acme-dist",
        "1.2",
    )
    host.activate([PluginEntry("acme_one")])
    assert is_blocked(runtime)
    assert "acme_one" in sys.modules and "acme_two" not in sys.modules
    assert found["acme_one"].state == "active" and found["acme_one"].hooks == ("relay_guard_tool",)
    assert found["acme_one"].seconds < plugins.LOAD_LIMIT


def test_a_plugin_that_is_off_or_blocked_is_not_imported(install, host, runtime):
    install("acme-dist", {"acme_one": "acme_one", "acme_two": "acme_two"}, acme_one=GUARD, acme_two=GUARD)
    host.block("acme_two")
    host.activate([PluginEntry("acme_one", enabled=False), PluginEntry("acme_two")])
    assert states(host)["acme_one"] == states(host)["acme_two"] == "blocked"
    assert not {"acme_one", "acme_two"} & set(sys.modules) and not is_blocked(runtime)


def test_blocking_an_active_plugin_turns_it_off(host, runtime):
    host.register(Guard(), name="g")
    host.block("g")
    assert states(host)["g"] == "blocked" and not is_blocked(runtime)


def test_a_name_that_nothing_provides_is_noted_with_the_nearest(install, host, caplog):
    install("acme-dist", {"acme_guard": "acme_guard"}, acme_guard=GUARD)
    (record,) = host.activate([PluginEntry("acme_gaurd")])
    assert record.state == "failed" and record.source == "configuration"
    assert "not installed; did you mean acme_guard?" in record.error
    host.activate([PluginEntry("acme_gaurd")])
    assert sum("acme_gaurd" in said for said in caplog.messages) == 1  # once


def test_two_distributions_of_one_name_are_a_conflict(install, host):
    install("acme-a", {"acme_x": "acme_x"}, acme_x=GUARD)
    install("acme-b", {"acme_x": "acme_x"})
    (record,) = host.activate([PluginEntry("acme_x")])
    assert record.error == "acme-a and acme-b both provide it; uninstall all but one of them"


def test_an_import_that_fails_is_kept_as_data_without_secrets(install, host, caplog):
    install(
        "acme-dist",
        {"acme_bad": "acme_bad"},
        acme_bad="raise RuntimeError('key sk-proj-abcdefghijklmnopqrstuvwxyz0123')",
    )
    (record,) = host.activate([PluginEntry("acme_bad")])
    assert record.state == "failed" and record.error.startswith("importing it failed: RuntimeError: key [REDACTED]")
    assert "sk-proj" not in caplog.text


def test_a_slow_import_is_reported(install, host, monkeypatch, caplog):
    monkeypatch.setattr(plugins, "LOAD_LIMIT", 0.05)
    install("acme-dist", {"acme_slow": "acme_slow"}, acme_slow=f"import time; time.sleep(0.06)\n{GUARD}")
    (record,) = host.activate([PluginEntry("acme_slow")])
    assert record.state == "active" and record.seconds >= 0.06
    assert f"'acme_slow' took {record.seconds:.1f} s to import" in caplog.text


def test_a_class_is_made_and_a_module_is_taken_as_it_is(host, runtime):
    with host.register(Guard) as one:
        assert one.record.name == "Guard" and is_blocked(runtime)
    module = types.ModuleType("pkg.module_guard")
    module.relay_guard_tool = hookimpl(lambda call: relay.Block("no"))
    with host.register(module) as two:
        assert two.record.name == "module_guard" and is_blocked(runtime)
    assert not is_blocked(runtime)


# -- activation -------------------------------------------------------------------------------------------------------


class Half:
    """Registers, then fails."""

    def __init__(self, error=None):
        self.error = error or RuntimeError("no server")
        self.relay = None
        self.stopped = 0

    @hookimpl
    def relay_configure(self, relay, config):
        self.relay = relay
        relay.register("guardrail", lambda call: Stop, target="tool", name="half")
        relay.add_resolver(lambda: None)
        raise self.error

    @hookimpl
    def relay_shutdown(self, relay):
        self.stopped += 1


Stop = relay.Block("half")


def test_a_failing_start_takes_everything_back(host, runtime):
    half = Half()
    with pytest.raises(
        relay.PluginError, match="plugin 'h': relay_configure failed: RuntimeError: no server"
    ) as caught:
        host.register(half, name="h")
    assert caught.value.__cause__ is half.error
    assert not is_blocked(runtime) and runtime._resolvers == () and half.stopped == 0
    assert states(host)["h"] != "active"


def test_a_failure_after_relay_configure_shuts_the_plugin_down_too(host, runtime):
    class Late(Half):
        @hookimpl
        def relay_configure(self, relay):
            relay.register("guardrail", lambda call: Stop, target="tool", name="half")

        @hookimpl
        def relay_codecs(self):
            return [object()]

    late = Late()
    with pytest.raises(relay.PluginError, match="relay_codecs failed: UsageError: object is no codec"):
        host.register(late, name="late")
    assert late.stopped == 1 and not is_blocked(runtime)


def test_the_program_goes_on_without_a_plugin_that_fails(install, host, runtime):
    bad = "import relay_core\n@relay_core.hookimpl\ndef relay_configure(relay): raise OSError('disk')\n"
    install("acme-dist", {"acme_bad": "acme_bad", "acme_good": "acme_good"}, acme_bad=bad, acme_good=GUARD)
    records = host.activate([PluginEntry("acme_bad"), PluginEntry("acme_good")])
    assert [r.state for r in records] == ["failed", "active"]
    assert records[0].error == "relay_configure failed: OSError: disk" and is_blocked(runtime)


def test_a_required_plugin_that_fails_undoes_the_activation(install, host, runtime):
    bad = "import relay_core\n@relay_core.hookimpl\ndef relay_configure(relay): raise OSError('disk')\n"
    install("acme-dist", {"acme_bad": "acme_bad", "acme_good": "acme_good"}, acme_bad=bad, acme_good=GUARD)
    entries = [PluginEntry("acme_good"), PluginEntry("acme_bad", config={"required": True})]
    with pytest.raises(relay.PluginError, match="plugin 'acme_bad': relay_configure failed: OSError: disk"):
        host.activate(entries)
    assert not is_blocked(runtime) and states(host)["acme_good"] == "enabled"


@pytest.mark.parametrize("missing", ["acme_none", "acme_bad"])
def test_a_required_plugin_that_cannot_be_loaded_raises(install, host, missing):
    install("acme-dist", {"acme_bad": "acme_bad"}, acme_bad="import acme_is_not_here")
    with pytest.raises(relay.PluginError, match=missing):
        host.activate([PluginEntry(missing, config={"required": True})])


def test_interrupts_are_not_swallowed_and_leave_nothing(host, runtime):
    with pytest.raises(KeyboardInterrupt):
        host.register(Half(KeyboardInterrupt()), name="h")
    assert not is_blocked(runtime)


def test_activating_twice_starts_once_and_a_changed_entry_starts_anew(install, host):
    text = """
import relay_core
seen = []
@relay_core.hookimpl
def relay_configure(relay, config): seen.append(config)
"""
    install("acme-dist", {"acme_c": "acme_c"}, acme_c=text)
    for value in (1, 1, 2):
        host.activate([PluginEntry("acme_c", config={"n": value})])
    assert sys.modules["acme_c"].seen == [{"n": 1}, {"n": 2}]


def test_a_failed_plugin_may_be_tried_again(install, host):
    text = """
import relay_core
tries = []
@relay_core.hookimpl
def relay_configure(relay):
    tries.append(1)
    if len(tries) == 1: raise OSError("not yet")
"""
    install("acme-dist", {"acme_t": "acme_t"}, acme_t=text)
    assert [host.activate([PluginEntry("acme_t")])[0].state for _ in range(2)] == ["failed", "active"]
    assert host.records()[0].error is None


class Schema(msgspec.Struct):
    path: str
    depth: int = 1


class Configured:
    def __init__(self):
        self.seen = []

    @hookimpl
    def relay_config_schema(self):
        return Schema

    @hookimpl
    def relay_configure(self, config):
        self.seen.append(config)


def test_all_problems_of_the_configuration_are_told(host):
    with pytest.raises(relay.ConfigError) as caught:
        host.register(Configured(), name="c", config={"depht": 2, "required": "yes"}, priority="high")
    assert len(caught.value.problems) == 4
    text = str(caught.value)
    assert all(key in text for key in ("plugins.c.depht", "plugins.c.required", "plugins.c.priority", "plugins.c.path"))
    assert "did you mean depth?" in text


def test_a_schema_that_is_none_is_refused(host):
    made = types.SimpleNamespace(relay_config_schema=hookimpl(lambda: dict))
    with pytest.raises(relay.PluginError, match=r"must return a msgspec\.Struct class, not type"):
        host.register(made, name="s")


def test_a_name_that_is_no_text_is_refused_and_leaves_nothing(host):
    with pytest.raises(relay.UsageError, match="a plugin's name is text, got 3"):
        host.register(Guard(), name=3)
    assert [record.name for record in host.records() if record.source == "code"] == []


def test_names_are_unique_and_free_again_after_removal(host):
    handle = host.register(Guard(), name="g")
    with pytest.raises(relay.DuplicateName, match="plugin 'g' is registered already"):
        host.register(Guard(), name="g")
    assert handle.remove() and not handle.remove()
    host.register(Guard(), name="g")


def test_code_may_stand_in_for_an_installed_plugin(install, host, runtime):
    install("acme-dist", {"acme_one": "acme_one"}, acme_one=GUARD)
    host.discover()
    with host.register(Guard(), name="acme_one") as handle:
        assert handle.record.source == "code" and "acme_one" not in sys.modules
    assert host.activate([PluginEntry("acme_one")])[0].source == "entry point" and is_blocked(runtime)


# -- what a plugin holds ----------------------------------------------------------------------------------------------


def test_registrations_go_with_the_plugin_and_a_kept_reference_is_refused(host, runtime):
    class Keeper:
        @hookimpl
        def relay_configure(self, relay):
            self.relay = relay

    keeper = Keeper()
    handle = host.register(keeper, name="k")

    @keeper.relay.guardrail("tool")
    def later(call):
        return relay.Block("later")

    assert later._registration.owner == "k" and is_blocked(runtime)
    assert keeper.relay.settings is runtime.settings  # the rest is the runtime's
    handle.remove()
    assert not is_blocked(runtime)
    with pytest.raises(relay.UsageError, match="plugin 'k' is off and cannot register"):
        keeper.relay.register("guardrail", lambda call: None, target="tool")
    with pytest.raises(relay.UsageError, match="plugin 'k' is off"):
        keeper.relay.add_resolver(lambda: None)
    assert runtime._resolvers == ()


def test_a_plugin_that_registers_and_removes_all_day_does_not_grow(runtime):
    context = plugins.PluginContext(runtime, "busy")
    for _ in range(200):
        context.register("guardrail", lambda call: None, target="tool").remove()
    assert len(context._undo) <= 1


def test_runtimes_do_not_see_each_others_plugins():
    one, two = relay.Relay(), relay.Relay()
    guard = Guard()
    host_of(one).register(guard, name="g")
    assert is_blocked(one) and not is_blocked(two)
    host_of(two).register(guard, name="g")  # the same object, in both
    host_of(one).close()
    assert is_blocked(two) and not is_blocked(one)


def test_a_runtime_with_plugins_can_be_collected():
    made = relay.Relay()
    host_of(made).register(Guard(), name="g")
    gone = weakref.ref(made)
    del made
    wait_until_gone(gone)


# -- closing ----------------------------------------------------------------------------------------------------------


def test_closing_stops_in_reverse_and_never_raises(host, runtime, caplog):
    order = []

    def make(name):
        def relay_shutdown(relay):
            order.append(name)
            if name == "b":
                raise RuntimeError("stuck")

        return types.SimpleNamespace(
            relay_shutdown=hookimpl(relay_shutdown), relay_guard_tool=hookimpl(lambda call: relay.Block(name))
        )

    for name in "abc":
        host.register(make(name), name=name)
    runtime.shutdown(timeout=20.0)
    assert order == ["c", "b", "a"] and not is_blocked(runtime)
    assert "plugin 'b': relay_shutdown failed: RuntimeError: stuck" in caplog.text
    host.close()
    assert len(order) == 3
    with pytest.raises(relay.UsageError, match="shut down and takes no plugins"):
        host.register(Guard())


def test_threads_that_activate_at_once_start_the_plugin_once(install, host):
    text = """
import relay_core, time
starts = []
@relay_core.hookimpl
def relay_configure(relay):
    starts.append(1); time.sleep(0.02)
"""
    install("acme-dist", {"acme_race": "acme_race"}, acme_race=text)
    entry = PluginEntry("acme_race")
    host.load("acme_race")
    threads = [threading.Thread(target=host.activate, args=([entry],)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sys.modules["acme_race"].starts == [1] and states(host)["acme_race"] == "active"


def test_a_disabled_runtime_starts_nothing(monkeypatch):
    monkeypatch.setenv("RELAY_DISABLED", "1")
    made = relay.Relay()
    guard = Half()
    assert PluginHost(made).register(guard, name="g").record.state == "enabled"
    assert PluginHost(made).activate([PluginEntry("whatever")]) == [] and guard.relay is None


# -- configure --------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path, monkeypatch):
    for name in ("RELAY_CONFIG", "RELAY_PLUGINS", "RELAY_ADAPTERS", "RELAY_DISABLED"):
        monkeypatch.delenv(name, raising=False)

    def write(text):
        path = tmp_path / "given.toml"
        path.write_text(text)
        return path

    return write


def test_configure_applies_settings_and_starts_plugins_in_order(config, install, runtime):
    text = "import relay_core\n@relay_core.hookimpl\ndef relay_configure(relay, config): print(config)\n"
    install("acme-dist", {"acme_z": "acme_z", "acme_a": "acme_a"}, acme_z=text, acme_a=text)
    found = configure(runtime, config("[queue]\nmax_events = 9\n[plugins.acme_z]\nk = 1\n[plugins.acme_a]\n"))
    assert runtime.settings is found.settings and runtime.settings.queue.max_events == 9
    active = [record.name for record in host_of(runtime).records() if record.state == "active"]
    assert active == ["acme_z", "acme_a"]
    configure(runtime, config("[queue]\nmax_events = 9\n[plugins.acme_a]\n"))
    active = [record.name for record in host_of(runtime).records() if record.state == "active"]
    assert active == ["acme_a"]  # the other one is not configured any more


WITH_A_SECTION = """
import msgspec, relay_core
class Section(msgspec.Struct):
    depth: int = 1
@relay_core.hookimpl
def relay_config_schema(): return Section
"""


def test_configure_reports_plugin_problems_with_file_and_line_and_changes_nothing(config, install, runtime):
    text = f"{WITH_A_SECTION}@relay_core.hookimpl\ndef relay_configure(relay): 1/0\n"
    install("acme-dist", {"acme_s": "acme_s"}, acme_s=text)
    before = runtime.settings
    with pytest.raises(
        relay.ConfigError, match=r"given.toml:2: plugins.acme_s.depht: unknown key; did you mean depth?"
    ):
        configure(runtime, config("[plugins.acme_s]\ndepht = 2\n"))
    assert runtime.settings is before


def test_one_error_lists_the_problems_of_relay_and_of_all_plugins(config, install, runtime):
    text = WITH_A_SECTION
    install("acme-dist", {"acme_p": "acme_p", "acme_q": "acme_q"}, acme_p=text, acme_q=text)
    given = config("[queue]\npolici = 1\n[plugins.acme_p]\ndepht = 2\n[plugins.acme_q]\ndepth = 'x'\n[plugins.none]\n")
    with pytest.raises(relay.ConfigError) as caught:
        configure(runtime, given)
    assert [problem.partition(": ")[2].partition(":")[0] for problem in caught.value.problems] == [
        "queue.polici",
        "plugins.acme_p.depht",
        "plugins.acme_q.depth",
    ]


def test_configure_restores_the_settings_when_a_required_plugin_fails(config, runtime):
    before = runtime.settings
    with pytest.raises(relay.PluginError, match="plugin 'acme_none': it is not installed"):
        configure(runtime, config("[plugins.acme_none]\nrequired = true\n"))
    assert runtime.settings is before


def test_configure_after_a_subscriber_may_not_change_limits(config, runtime):
    runtime.subscriber(lambda event: None, name="early")
    with pytest.raises(relay.UsageError, match="comes after the first subscriber; call it before"):
        configure(runtime, config("[queue]\nmax_events = 9\n"))
    configure(runtime, config("[plugins]\n"))  # same limits: fine


def test_configure_with_values_from_code_and_warnings(config, runtime, monkeypatch, caplog):
    monkeypatch.setenv("RELAY_QUEUE_MAX_EVENT", "3")
    with caplog.at_level(logging.WARNING, "relay"):
        configure(runtime, config(""), {"queue.max_events": 5})
    assert runtime.settings.queue.max_events == 5
    assert "RELAY_QUEUE_MAX_EVENT: unknown variable" in caplog.text


def test_configure_can_disable(config, runtime):
    configure(runtime, config("disabled = true\n[plugins.acme_none]\nrequired = true\n"))
    assert runtime.disabled and host_of(runtime).records() == []
