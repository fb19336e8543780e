"""Adapters: discovery, installation now or after the import of the framework, failures as data."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
import weakref

import pytest

import relay_core as relay
from relay_core.adapters import Adapter, AdapterHost, host_of
from relay_core.settings import Adapters, Settings
from tests.waiting import wait_until_gone


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("RELAY_ADAPTERS", "RELAY_BLOCK", "RELAY_CONFIG", "RELAY_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def runtime():
    made = relay.Relay()
    yield made
    host_of(made).uninstall()
    made.shutdown(timeout=20.0)


@pytest.fixture
def host(runtime):
    return host_of(runtime)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write modules that can be imported for a while; their names start with toyfw or toyad."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text=""):
        path = tmp_path.joinpath(*name.split("."))
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".py").write_text(text)
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        if name.startswith(("toyfw", "toyad")):
            del sys.modules[name]


ADAPTER = """
log = []
class Toy:
    name = "{name}"
    requires = "{framework}"
    control = "tool calls"
    def install(self, relay, **options):
        import {framework} as framework
        log.append(("install", framework.READY, options))
    def uninstall(self, relay):
        log.append(("uninstall",))
    def version(self):
        return "9.9"
"""


@pytest.fixture
def install(module, tmp_path):
    """Install a distribution with one adapter for a framework."""

    def add(name, framework, text=ADAPTER, value="Toy"):
        folder = tmp_path / f"{name}_dist-3.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 3.0\n")
        (folder / "entry_points.txt").write_text(f"[relay.adapters]\n{name} = {name}:{value}\n")
        module(name, text.replace("{name}", name).replace("{framework}", framework))

    return add


class Simple:
    """An adapter for a module of the standard library."""

    def __init__(self, name="simple", requires="json", error=None):
        self.name, self.requires, self.error = name, requires, error
        self.log = []

    def install(self, relay, **options):
        self.log.append(("install", relay, options))
        if self.error is not None:
            raise self.error

    def uninstall(self, relay):
        self.log.append(("uninstall", relay))


def state(host, name):
    return next(record.state for record in host.records() if record.name == name)


def log_of(name):
    return sys.modules[name].log


# -- when it is installed ---------------------------------------------------------------------------------------------


def test_waits_for_the_framework_and_is_there_when_its_import_returns(install, module, host):
    install("toyad_a", "toyfw_a")
    module("toyfw_a", "READY = True")
    (record,) = host.autoload(["toyad_a"])
    assert (record.state, record.distribution, record.version) == ("waiting", "toyad_a-dist", "3.0")
    assert "toyfw_a" not in sys.modules and log_of("toyad_a") == []
    import toyfw_a

    assert toyfw_a.READY and log_of("toyad_a") == [("install", True, {})]  # complete, so the first run is seen
    assert (record.state, record.framework, record.control) == ("active", "9.9", "tool calls")


def test_installs_at_once_when_the_framework_is_there(install, module, host):
    install("toyad_b", "toyfw_b")
    module("toyfw_b", "READY = 1")
    importlib.import_module("toyfw_b")
    assert host.autoload(["toyad_b"])[0].state == "active"


def test_twice_installs_once_waiting_or_active(install, module, host):
    install("toyad_c", "toyfw_c")
    module("toyfw_c", "READY = 1")
    host.autoload(["toyad_c"])
    host.autoload(["toyad_c"])
    importlib.import_module("toyfw_c")
    host.autoload(["toyad_c"])
    assert log_of("toyad_c") == [("install", 1, {})]


def test_a_submodule_may_trigger_the_installation(install, module, host):
    text = ADAPTER.replace(
        'requires = "{framework}"', 'requires = "{framework}"\n    hook_module = "{framework}.inner"'
    )
    install("toyad_d", "toyfw_d", text)
    module("toyfw_d.__init__", "READY = 1")
    module("toyfw_d.inner")
    host.autoload(["toyad_d"])
    importlib.import_module("toyfw_d")
    assert state(host, "toyad_d") == "waiting"
    importlib.import_module("toyfw_d.inner")
    assert state(host, "toyad_d") == "active"


def test_an_import_under_way_in_another_thread_is_waited_for(install, module, host):
    install("toyad_e", "toyfw_e")
    module("toyfw_e", "import time; time.sleep(0.2); READY = 1")
    thread = threading.Thread(target=importlib.import_module, args=("toyfw_e",))
    thread.start()
    while "toyfw_e" not in sys.modules:
        pass
    record = host.autoload(["toyad_e"])[0]
    thread.join()
    assert record.state == "active", record.error


def test_threads_that_autoload_and_import_at_once_install_once(install, module, host):
    install("toyad_f", "toyfw_f")
    module("toyfw_f", "READY = 1")
    jobs = [lambda: host.autoload(["toyad_f"]), lambda: importlib.import_module("toyfw_f")] * 8
    threads = [threading.Thread(target=job) for job in jobs]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    host.autoload(["toyad_f"])
    assert log_of("toyad_f") == [("install", 1, {})]


def test_a_framework_that_is_not_there_is_named_and_waited_for(install, module, host):
    install("toyad_g", "toyfw_g")
    record = host.autoload(["toyad_g"])[0]
    assert (record.state, record.missing) == ("waiting", ("toyfw_g",))
    module("toyfw_g", "READY = 1")
    importlib.import_module("toyfw_g")
    assert (record.state, record.missing) == ("active", ())


# -- which ones -------------------------------------------------------------------------------------------------------


def test_only_enabled_adapters_are_imported(install, host):
    install("toyad_h", "toyfw_h")
    install("toyad_i", "toyfw_i", "1/0")
    host.autoload(["toyad_h"])
    assert "toyad_h" in sys.modules and "toyad_i" not in sys.modules
    assert state(host, "toyad_i") == "installed"


def test_blocked_wins_over_enabled(install, host):
    install("toyad_j", "toyfw_j", "1/0")
    assert [r.state for r in host.autoload(["toyad_j"], block=["toyad_j"])] == ["blocked"]


def test_without_names_the_settings_choose_with_their_options(install, module):
    install("toyad_k", "toyfw_k")
    install("toyad_l", "toyfw_l", "1/0")
    module("toyfw_k", "READY = 1")
    importlib.import_module("toyfw_k")
    choice = Adapters(enable=("toyad_k", "toyad_l"), block=("toyad_l",), options={"toyad_k": {"depth": 2}})
    host = AdapterHost(relay.Relay(Settings(adapters=choice)))
    assert {r.name: r.state for r in host.autoload()} == {"toyad_k": "active", "toyad_l": "blocked"}
    assert log_of("toyad_k") == [("install", 1, {"depth": 2})]


def test_the_environment_chooses_where_the_settings_do_not(install, host, monkeypatch):
    install("toyad_m", "toyfw_m")
    install("toyad_n", "toyfw_n", "1/0")
    monkeypatch.setenv("RELAY_ADAPTERS", "toyad_m, toyad_n")
    monkeypatch.setenv("RELAY_BLOCK", "toyad_n")
    assert {r.name: r.state for r in host.autoload()} == {"toyad_m": "waiting", "toyad_n": "blocked"}


def test_a_wrong_name_is_noted_with_the_nearest(install, host):
    install("toyad_o", "toyfw_o")
    (record,) = host.autoload(["toyad_0"])
    assert record.state == "failed" and "it is not installed; did you mean toyad_o?" in record.error
    assert "toyad_0" not in [r.name for r in host.autoload(names=[])]


def test_a_single_text_is_no_list_of_names(host):
    with pytest.raises(relay.UsageError, match="lists of adapter names"):
        host.autoload("langchain")


def test_disabled_does_nothing(monkeypatch):
    monkeypatch.setenv("RELAY_DISABLED", "1")
    adapter = Simple()
    made = AdapterHost(relay.Relay())
    made.install(adapter)
    assert made.autoload() == [] and adapter.log == []


# -- failures ---------------------------------------------------------------------------------------------------------


def test_a_failing_installation_never_reaches_the_frameworks_import(install, module, host, caplog):
    text = ADAPTER.replace('log.append(("install", framework.READY, options))', "raise TypeError('boom')")
    install("toyad_p", "toyfw_p", text)
    module("toyfw_p", "READY = 1")
    (record,) = host.autoload(["toyad_p"])
    assert importlib.import_module("toyfw_p").READY == 1
    assert (record.state, record.error) == ("failed", "TypeError: boom")
    assert log_of("toyad_p") == [("uninstall",)]  # what it had done is undone
    host.autoload(["toyad_p"])
    assert sum("toyad_p" in said for said in caplog.messages) == 1  # once


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1/0", "importing it failed: ZeroDivisionError: division by zero"),
        ("class Toy: pass", "Toy is no adapter: it has no method install(relay)"),
        ("class Toy:\n  def install(self, r): ...\n  uninstall = install", "`requires` must name the modules"),
    ],
)
def test_what_is_no_adapter_is_noted(install, host, text, error):
    install("toyad_q", "toyfw_q", text)
    (record,) = host.autoload(["toyad_q"])
    assert record.state == "failed" and error in record.error


def test_install_in_code_raises_and_can_be_tried_again(host):
    adapter = Simple(error=OSError("no hook"))
    with pytest.raises(relay.AdapterError, match="adapter 'simple': OSError: no hook") as caught:
        host.install(adapter)
    assert caught.value.__cause__ is adapter.error
    adapter.error = None
    assert host.install(adapter, depth=1).state == "active"
    assert adapter.log[-1] == ("install", host._relay, {"depth": 1})


def test_install_in_code_respects_the_block_list():
    made = AdapterHost(relay.Relay(Settings(adapters=Adapters(block=("simple",)))))
    with pytest.raises(relay.AdapterError, match="blocked by the configuration"):
        made.install(Simple())


def test_install_by_name_imports_the_framework(install, module, host):
    install("toyad_r", "toyfw_r")
    module("toyfw_r", "READY = 1")
    host.autoload(["toyad_r"])
    assert host.install("toyad_r").state == "active" and "toyfw_r" in sys.modules


# -- taking off -------------------------------------------------------------------------------------------------------


def test_uninstall_goes_in_reverse_and_never_raises(host, caplog):
    order = []

    class Leaving(Simple):
        def uninstall(self, relay):
            order.append(self.name)
            if self.name == "b":
                raise RuntimeError("stuck")

    for name in "abc":
        host.install(Leaving(name))
    host.uninstall("a")
    host.install(Leaving("d"))
    host.uninstall()
    host.uninstall()
    assert order == ["a", "d", "c", "b"]
    assert "adapter 'b': uninstall failed: RuntimeError: stuck" in caplog.text


def test_one_that_waits_is_not_installed_after_uninstall_but_again_after_autoload(install, module, host):
    install("toyad_s", "toyfw_s")
    module("toyfw_s", "READY = 1")
    host.autoload(["toyad_s"])
    host.uninstall()
    importlib.import_module("toyfw_s")
    assert state(host, "toyad_s") == "installed" and log_of("toyad_s") == []
    assert host.autoload(["toyad_s"])[0].state == "active"


def test_runtimes_are_separate_and_a_waiting_one_can_be_collected(install, module, host):
    install("toyad_t", "toyfw_t")
    module("toyfw_t", "READY = 1")
    other = relay.Relay()
    host_of(other).autoload(["toyad_t"])
    gone = weakref.ref(other)
    del other
    wait_until_gone(gone)
    importlib.import_module("toyfw_t")
    host.discover()
    assert log_of("toyad_t") == [] and state(host, "toyad_t") == "installed"


def test_the_protocol_recognises_an_adapter():
    assert isinstance(Simple(), Adapter) and not isinstance(object(), Adapter)


def test_importing_relay_loads_no_entry_points_and_no_import_hooks():
    code = "import sys, relay_core; sys.exit(any(m in sys.modules for m in ('importlib.metadata', 'wrapt', 'pluggy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Lenses:
    """Brings a codec and nothing else."""

    name = "lenses"
    requires = ()

    def codecs(self):
        from tests.core.chat_codec import ChatCodec

        return [ChatCodec()]

    def install(self, relay, **options):
        pass

    def uninstall(self, relay):
        pass


def test_an_adapter_may_bring_codecs_and_need_nothing(runtime, host):
    record = host.install(Lenses())
    assert (record.state, record.requires) == ("active", ())
    (name,) = runtime.codecs.names()
    host.install(Lenses.name)
    assert runtime.codecs.names() == [name]
    host.uninstall("lenses")
    assert runtime.codecs.names() == []


def test_codecs_are_there_before_the_framework_is(runtime, host, module):
    module("toyfw_lenses")
    adapter = Lenses()
    adapter.requires = ("toyfw_lenses",)
    host._slots["lenses"] = __import__("relay_core.adapters", fromlist=["_Slot"])._Slot("lenses", "code", adapter)
    (record,) = host.autoload(names=["lenses"])
    assert record.state == "waiting"
    assert len(runtime.codecs.names()) == 1


def test_an_adapter_that_needs_nothing_and_brings_nothing_is_refused(host):
    adapter = type("Empty", (), {"name": "empty", "requires": (), "install": print, "uninstall": print})()
    with pytest.raises(relay.AdapterError, match="`requires` must name"):
        host.install(adapter)


def test_codecs_that_are_named_are_loaded_when_one_is_asked_for(runtime, host):
    loads = []

    class Named(Lenses):
        codec_names = ("openai_chat",)

        def codecs(self):
            loads.append(1)
            return super().codecs()

    host.install(Named())
    assert ("openai_chat" in runtime.codecs, runtime.codecs.names(), loads) == (True, ["openai_chat"], [])
    codec = runtime.codecs.get("openai_chat")
    assert (codec.name, runtime.codecs.get("openai_chat") is codec, loads) == ("openai_chat", True, [1])
    host.uninstall("lenses")
    assert "openai_chat" not in runtime.codecs


def test_a_codec_of_the_programs_own_wins_over_one_that_is_promised(runtime, host):
    (own,) = Lenses().codecs()
    Named = type("Named", (Lenses,), {"codec_names": (own.name,)})
    host.install(Named())
    runtime.codecs.register(own)
    assert runtime.codecs.get(own.name) is own
