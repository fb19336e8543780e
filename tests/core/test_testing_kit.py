"""The kit itself: fixtures, recorder, assertions; and the contracts, over sound and over broken adapters and plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from xml.etree import ElementTree as ET

import pytest

import relay_core
from relay_core import Relay, UsageError
from relay_core.testing import (
    AdapterCapabilities,
    AdapterContract,
    EventRecorder,
    PluginContract,
    assert_accounts_settled,
    assert_no_error,
    assert_no_secret,
    assert_status,
    assert_tools,
    assert_well_formed,
    contract_override,
    record,
)

pytestmark = pytest.mark.timeout(180)  # the contracts run in processes of their own
OPTIONS = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error"]


def run_pytest(directory, *arguments):
    """Run pytest in a process of its own; gives its output and what became of each test, by class and function."""
    report = directory / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, f"--junitxml={report}", f"--rootdir={directory}", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    results = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname').rpartition('.')[2]}.{case.get('name')}"
        tags = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        results[name] = tags[0] if tags else "passed"
    return done.stdout + done.stderr, results


def write(directory, **files):
    for name, text in files.items():
        (directory / f"{name}.py").write_text(textwrap.dedent(text))


# -- fixtures ----------------------------------------------------------------------------------------------------------


def test_fixtures_give_an_isolated_recorded_runtime(relay_runtime, relay_events):
    assert relay_events.runtime is relay_runtime is not relay_core.default
    with relay_runtime.scope("job"):
        relay_core.mark("elsewhere")
    assert [event.name for event in relay_events.events] == ["job", "job"]


def test_failures_show_the_tree_and_fixtures_find_failing_subscribers(tmp_path):
    write(
        tmp_path,
        test_it="""
        import pytest

        def test_fails(relay_runtime, relay_events):
            with relay_runtime.scope("trip", "agent"):
                relay_runtime.call_tool("book", {}, lambda args: None)
            assert False

        def boom(event):
            raise ValueError("never shown")

        def test_subscriber_fails(relay_runtime):
            relay_runtime.subscriber(boom)
            relay_runtime.mark("m")

        @pytest.mark.relay_subscriber_errors
        def test_subscriber_fails_on_purpose(relay_runtime):
            relay_runtime.subscriber(boom)
            relay_runtime.mark("m")

        def test_passes(relay_events):
            with relay_events.runtime.scope("silent"):
                pass
        """,
    )
    output, results = run_pytest(tmp_path, "--strict-markers", "test_it.py")
    assert "relay events" in output
    assert "trip [agent] ok\n  book [tool] ok" in output
    assert "subscriber 'boom' failed on 1 events" in output
    assert "silent" not in output
    assert results == {
        "test_it.test_fails": "failure",
        "test_it.test_subscriber_fails": "error",
        "test_it.test_subscriber_fails_on_purpose": "passed",
        "test_it.test_passes": "passed",
    }


def test_plugin_costs_nothing_until_it_is_used():
    code = "import sys, relay_core.testing.pytest_plugin; print([m for m in sys.modules if 'msgspec' in m or m == 'asyncio'])"
    bare = "import sys, pytest; print([m for m in sys.modules if 'msgspec' in m or m == 'asyncio'])"
    ours, theirs = (
        subprocess.run([sys.executable, "-c", c], capture_output=True, text=True, check=True) for c in (code, bare)
    )
    assert ours.stdout == theirs.stdout


# -- recorder ------------------------------------------------------------------------------------------------------------


def test_recorder_selects_and_draws():
    with record(Relay()) as found:
        runtime = found.runtime
        with runtime.scope("trip", "agent"):
            runtime.call_tool("book", {"n": 1}, lambda args: {"ok": args["n"]})
            runtime.mark("booked")
            with pytest.raises(KeyError):
                runtime.call_tool("pay", {}, lambda args: args["amount"])
    assert [e.name for e in found.starts()] == ["trip", "book", "pay"]
    assert [e.name for e in found.ends("tool")] == ["book", "pay"]
    assert [e.data for e in found.marks("booked")] == [None]
    assert len(found.named("book")) == 2
    assert len(found) == 7
    assert found.tree().splitlines() == [
        "trip [agent] ok",
        "  book [tool] ok",
        "  * booked",
        f"  pay [tool] error: {found.trajectory().find('pay').error}",
    ]
    runtime.mark("after the block")
    assert not found.marks("after the block")


def test_recorder_is_thread_safe_and_two_do_not_meet():
    runtime = Relay()
    with EventRecorder(runtime) as one, EventRecorder(runtime) as two:
        threads = [threading.Thread(target=lambda: [runtime.mark("m") for _ in range(200)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(one) == len(two) == 800
        two.clear()
        runtime.mark("last")
        assert [e.name for e in two] == ["last"]
    assert_well_formed(one)


def test_recorder_says_that_a_subscriber_hangs():
    runtime = Relay()
    release = threading.Event()
    runtime.register("subscriber", lambda event: release.wait(20), name="stuck")
    recorder = EventRecorder(runtime)
    recorder.subscribe()
    runtime.mark("m")
    began = time.monotonic()
    with pytest.raises(AssertionError, match="a subscriber hangs"):
        recorder.flush(timeout=0.2)
    assert time.monotonic() - began < 5
    release.set()


# -- assertions ------------------------------------------------------------------------------------------------------------


def scope(phase="start", uuid="a", **changes):
    row = {
        "kind": "scope",
        "scope_category": phase,
        "uuid": uuid,
        "name": "job",
        "category": "agent",
        "parent_uuid": None,
        "propagation_root_uuid": "a",
        "attributes": [],
        "timestamp": "2026-01-01T00:00:01Z",
        "metadata": None if phase == "start" else {"relay.status": "ok"},
    }
    return {**row, **changes}


def mark(**changes):
    return {"kind": "mark", "uuid": "m", "name": "m", "parent_uuid": None, "propagation_root_uuid": None, **changes}


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([scope()], "has no end"),
        ([scope(), scope(), scope("end")], "started twice"),
        ([scope(), scope("end"), scope("end")], "ended twice"),
        ([scope("end")], "ended without a start"),
        ([scope(parent_uuid="x"), scope("end", parent_uuid="x")], "parent that was not seen"),
        ([scope(), scope("end", name="other")], "has name 'job' on its start"),
        ([scope(), scope("end", attributes=["remote"])], "has attributes"),
        ([scope(), scope("end", timestamp="2026-01-01T00:00:00Z")], "ended before it started"),
        ([scope(), scope("end", metadata={})], "no relay.status"),
        ([scope(propagation_root_uuid="x"), scope("end", propagation_root_uuid="x")], "names x as its root"),
        ([scope(), scope(uuid="b", parent_uuid="a", propagation_root_uuid="b")], "has the root b; its parent has a"),
        ([mark(parent_uuid="x")], "parent that was not seen"),
        ([mark(), mark()], "UUID that another event has"),
        ([mark(), scope(uuid="m", propagation_root_uuid="m")], "UUID that a mark has"),
    ],
)
def test_well_formed_finds_each_defect(rows, wrong):
    with pytest.raises(AssertionError, match=wrong):
        assert_well_formed(rows)


def test_well_formed_accepts_what_is_meant():
    assert_well_formed([scope(), mark(parent_uuid="a", propagation_root_uuid="a"), scope("end")])
    assert_well_formed([scope()], complete=False)
    remote = {"parent_uuid": "far", "propagation_root_uuid": "root"}
    assert_well_formed([scope(**remote), scope("end", **remote)], known=["far"])


@pytest.mark.parametrize(
    ("expected", "order", "right"),
    [
        (["a", "b", "a"], "exact", True),
        (["a", "b"], "exact", False),
        (["b", "a"], "subset", True),
        (["b", "b"], "subset", False),
        (["a", "a", "b"], "any", True),
        (["a", "b"], "any", False),
    ],
)
def test_tools_in_order(expected, order, right):
    rows = [scope(uuid=str(n), name=name, category="tool") for n, name in enumerate("aba")]
    if right:
        assert_tools(rows, expected, order=order)
    else:
        with pytest.raises(AssertionError, match="tools called"):
            assert_tools(rows, expected, order=order)


def test_outcomes(relay_runtime, relay_events):
    with pytest.raises(KeyError):
        relay_runtime.call_tool("pay", {}, lambda args: args["amount"])
    assert_status(relay_events, "pay", "error")
    with pytest.raises(AssertionError, match=r"'pay'.*KeyError"):
        assert_no_error(relay_events)
    with pytest.raises(AssertionError, match="expected 'ok'"):
        assert_status(relay_events, "pay", "ok")
    with pytest.raises(AssertionError, match="no scope 'nothing' ended"):
        assert_status(relay_events, "nothing", "ok")


@pytest.mark.parametrize("secret", ["plain-text", 'quo"ted', "ünïcode", "back\\slash", "new\nline"])
def test_secrets_are_found_and_not_shown(relay_runtime, relay_events, secret):
    relay_runtime.mark("login", {"deep": [{"er": f"x{secret}y"}]})
    with pytest.raises(AssertionError, match="number 2") as info:
        assert_no_secret(relay_events, ["absent", secret])
    assert secret not in str(info.value)
    assert_no_secret(relay_events, ["absent"])
    with pytest.raises(ValueError, match="empty secret"):
        assert_no_secret(relay_events, [""])


def test_accounts_name_failing_subscribers_and_faults():
    runtime = Relay()
    runtime.register("subscriber", lambda event: 1 / 0, name="bad")
    runtime.mark("m")
    runtime.flush()
    runtime.fault("the test", ValueError("x"))
    with pytest.raises(AssertionError, match=r"(?s)'bad' failed on 1 events.*1 internal faults"):
        assert_accounts_settled(runtime)


# -- contracts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [False, None, "", " "])
def test_a_capability_that_is_off_needs_a_reason(value):
    with pytest.raises(UsageError, match="a text that says why not"):
        AdapterCapabilities(batch=value)


@pytest.mark.parametrize("base", [AdapterContract, PluginContract])
def test_overrides_need_a_reason(base):
    name = next(n for n in vars(base) if n.startswith("test_"))
    silent = type("Silent", (base,), {name: lambda self: None})
    removed = type("Removed", (base,), {name: None})
    stated = type("Stated", (base,), {name: contract_override(reason="no such thing here")(lambda self: None)})
    with pytest.raises(AssertionError, match=f"{name} is replaced"):
        silent().test_no_silent_overrides()
    with pytest.raises(AssertionError, match=f"{name} is removed"):
        removed().test_no_silent_overrides()
    stated().test_no_silent_overrides()
    with pytest.raises(UsageError, match="needs a reason"):
        contract_override(reason=" ")
    with pytest.raises(UsageError, match="cannot be replaced"):
        type("Blind", (base,), {"test_no_silent_overrides": None})


def test_a_driver_that_is_missing_says_so():
    with pytest.raises(UsageError, match=r"AdapterContract has no call_llm\(\); define it"):
        AdapterContract().call_llm(None, "text", str)


TOY = """
    class Model:
        def __init__(self, body):
            self.body = body

        def invoke(self, text):
            return self.body(text)

        async def ainvoke(self, text):
            return await self.body(text)

        def stream(self, text):
            yield from self.body(text)

        async def astream(self, text):
            async for piece in self.body(text):
                yield piece

        def batch(self, texts):
            return [self.invoke(text) for text in texts]

    class Tool(Model):
        pass
    """
ADAPTER = """
    import asyncio, json

    class ToyAdapter:
        name = "toy"
        requires = ("toy",)

        def __init__(self, defect=""):
            self.defect = defect
            self.kept = []

        def install(self, relay, **options):
            import toy

            self.saved = {(c, n): vars(c)[n] for c in (toy.Model,) for n in ("invoke", "ainvoke", "stream", "astream")}
            invoke, ainvoke, stream, astream = self.saved.values()
            defect, kept = self.defect, self.kept

            def parts(model, text):
                tool = isinstance(model, toy.Tool)
                request = {"value" if tool else "content": text}
                call = relay.call_tool if tool else relay.call_llm
                acall = relay.acall_tool if tool else relay.acall_llm
                options = {"parent": None} if defect == "orphans" else {}
                if defect == "leaks":
                    kept.append(str(text) + "!")
                if defect == "dumps":
                    json.dumps(text).encode("ascii").decode().encode()
                    str(text).encode()
                return call, acall, request, options

            def patched(model, text):
                call, _, request, options = parts(model, text)
                real = lambda r: invoke(model, *r.values())
                if defect == "observes":
                    scope = relay.open_scope("toy", "tool" if isinstance(model, toy.Tool) else "llm", input=request)
                    result = invoke(model, text)
                    scope.close(output=result)
                    return result
                if defect == "doubles":
                    inner = real
                    real = lambda r: call("toy", r, inner)
                try:
                    result = call("toy", request, real, **options)
                except ArithmeticError as error:
                    if defect == "wraps":
                        raise RuntimeError("toy failed") from error
                    raise
                return str(result) + "" if defect != "copies" else "".join(list(result))

            async def apatched(model, text):
                _, acall, request, options = parts(model, text)
                try:
                    return await acall("toy", request, lambda r: ainvoke(model, *r.values()), **options)
                except asyncio.CancelledError:
                    if defect == "swallows":
                        return "nothing"
                    raise

            def streamed(model, text):
                real = lambda r: stream(model, *r.values())
                if defect == "forgets":
                    def pieces():
                        scope = relay.open_scope("toy", "llm", input=text)
                        made = []
                        for piece in stream(model, text):
                            made.append(piece)
                            yield piece
                        scope.close(output=made)
                    return pieces()
                if defect == "buffers":
                    all_of_them = relay.call_llm("toy", {"content": text}, lambda r: list(real(r)))
                    return iter(all_of_them)
                return relay.stream_llm("toy", {"content": text}, real)

            def astreamed(model, text):
                return relay.astream_llm("toy", {"content": text}, lambda r: astream(model, *r.values()))

            toy.Model.invoke, toy.Model.ainvoke = patched, apatched
            toy.Model.stream, toy.Model.astream = streamed, astreamed

        def uninstall(self, relay):
            if self.defect != "stays":
                for (cls, name), method in self.saved.items():
                    setattr(cls, name, method)
    """
CONTRACT = """
    import pytest
    from relay_adapter_toy import ToyAdapter
    from relay_core.testing import AdapterCapabilities, AdapterContract

    class Toy(AdapterContract):
        entry = "relay_adapter_toy:ToyAdapter"
        frameworks = ("toy",)
        growth_runs = 300
        defect = ""

        def make_adapter(self):
            return ToyAdapter(self.defect)

        def call_llm(self, relay, text, body):
            import toy
            return toy.Model(body).invoke(text)

        async def acall_llm(self, relay, text, body):
            import toy
            return await toy.Model(body).ainvoke(text)

        def call_tool(self, relay, text, body):
            import toy
            return toy.Tool(body).invoke(text)

        async def acall_tool(self, relay, text, body):
            import toy
            return await toy.Tool(body).ainvoke(text)

        def stream_llm(self, relay, text, body):
            import toy
            return toy.Model(body).stream(text)

        def astream_llm(self, relay, text, body):
            import toy
            return toy.Model(body).astream(text)

        def batch_llm(self, relay, texts, body):
            import toy
            return toy.Model(body).batch(texts)
    """


@pytest.fixture
def toy(tmp_path):
    sound = ADAPTER.replace(
        'return str(result) + "" if defect != "copies" else', 'return result if defect != "copies" else'
    )
    write(tmp_path, toy=TOY, relay_adapter_toy=sound)
    return tmp_path


def test_a_sound_adapter_passes_every_test(toy):
    write(toy, test_toy=textwrap.dedent(CONTRACT) + "\n\nclass TestToy(Toy):\n    pass\n")
    output, results = run_pytest(toy, "test_toy.py")
    assert {n: r for n, r in results.items() if r not in ("passed", "skipped")} == {}, output
    skipped = {name.partition("[")[0].rpartition(".")[2] for name, r in results.items() if r == "skipped"}
    assert skipped == {"test_parents_in_tasks", "test_cancellation"}, "these have no sync form"
    assert len(results) > 60


DEFECTS = {
    "doubles": "test_one_pair_per_call[llm-sync]",
    "wraps": "test_objects_keep_their_identity[llm-sync-exception]",
    "copies": "test_objects_keep_their_identity[tool-sync-result]",
    "orphans": "test_parent_is_the_current_scope[tool-async]",
    "leaks": "test_nothing_grows[llm-sync]",
    "swallows": "test_cancellation[llm-async]",
    "forgets": "test_stream_ends_once[close]",
    "buffers": "test_stream_ends_once[exhaust]",
    "observes": "test_block[tool-sync]",
    "dumps": "test_hostile_payloads[llm-sync-surrogate]",
    "stays": "test_installed_twice_and_taken_off[llm-async]",
}


def test_broken_adapters_are_caught(toy):
    classes = "".join(f"\n\nclass Test_{d}(Toy):\n    defect = {d!r}\n" for d in DEFECTS)
    classes += "\n\nclass Test_off(Toy):\n    capabilities = AdapterCapabilities(batch='toys have none')\n"
    classes += "\n\nclass Test_eager(Toy):\n    entry = 'eager:ToyAdapter'\n"
    write(
        toy,
        test_toy=textwrap.dedent(CONTRACT) + classes,
        eager="import toy\nfrom relay_adapter_toy import ToyAdapter\n",
    )
    tests = [f"test_toy.py::Test_{defect}::{test}" for defect, test in DEFECTS.items()]
    tests += ["test_toy.py::Test_off::test_batch", "test_toy.py::Test_eager::test_imports_without_the_framework"]
    output, results = run_pytest(toy, "-rs", *tests)
    assert results == {
        **{f"Test_{defect}.{test}": "failure" for defect, test in DEFECTS.items()},
        "Test_off.test_batch": "skipped",
        "Test_eager.test_imports_without_the_framework": "failure",
    }, output
    assert "batch: toys have none" in output


PLUGIN = """
    import threading
    import msgspec
    import relay_core as relay

    DEFECT = "none"
    everywhere = []
    stopped = set()
    held = []

    class Settings(msgspec.Struct, forbid_unknown_fields=True):
        directory: str = "."
        verbose: bool = False

    if DEFECT != "schemaless":
        @relay.hookimpl
        def relay_config_schema():
            return Settings

    @relay.hookimpl
    def relay_configure(relay, config):
        runtime = relay._relay if DEFECT == "goes round" else relay
        runtime.register("metadata_injector", lambda event: {"team": "toys"}, name="team")
        if DEFECT == "holds files":
            held.append(open(config.directory + "/held", "w"))
        if DEFECT == "shared":
            everywhere.append(relay)
        try:
            relay.register("subscriber", lambda event: None, name="audit")
        except RuntimeError:
            if DEFECT != "swallows":
                raise

    @relay.hookimpl
    def relay_guard_tool(call):
        return relay.Block("no shell") if call.name == "shell" else None

    @relay.hookimpl
    def relay_shutdown(relay):
        if DEFECT == "shared":
            for other in everywhere:
                other.close()
        if DEFECT == "once":
            if id(relay) in stopped:
                raise RuntimeError("stopped before")
            stopped.add(id(relay))

    @relay.hookimpl
    def relay_doctor(relay):
        return [{"check": "toys", "ok": "yes" if DEFECT == "vague" else True, "detail": ""}]
    """
PLUGIN_CONTRACT = """
    from relay_core.testing import PluginContract

    class TestToys(PluginContract):
        name = "toys"

        def config(self, directory):
            return {"directory": str(directory)}
    """
PLUGIN_DEFECTS = {
    "schemaless": "test_config_names_the_nearest_key",
    "goes round": "test_deactivation_leaves_nothing",
    "holds files": "test_deactivation_leaves_nothing",
    "swallows": "test_failing_activation_rolls_back",
    "shared": "test_runtimes_are_isolated",
    "once": "test_shutdown_twice_is_harmless",
    "vague": "test_doctor_and_commands_answer",
}


def write_plugin(directory, name, defect):
    write(directory, **{f"{name}_module": PLUGIN.replace('"none"', repr(defect))})
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[relay.plugins]\n{name} = {name}_module\n")


def test_a_sound_plugin_passes_every_test(tmp_path):
    write_plugin(tmp_path, "toys", "none")
    write(tmp_path, test_toys=PLUGIN_CONTRACT)
    output, results = run_pytest(tmp_path, "test_toys.py")
    assert set(results.values()) == {"passed"}, output
    assert len(results) == 8


def test_broken_plugins_are_caught(tmp_path):
    text = textwrap.dedent(PLUGIN_CONTRACT)
    expected = {"Test_absent.test_entry_point_loads": "failure"}
    text += "\n\nclass Test_absent(TestToys):\n    name = 'absent'\n"
    for number, (defect, test) in enumerate(PLUGIN_DEFECTS.items()):
        write_plugin(tmp_path, f"toys{number}", defect)
        text += f"\n\nclass Test_{number}(TestToys):\n    name = 'toys{number}'\n"
        expected[f"Test_{number}.{test}"] = "failure"
    write(tmp_path, test_toys=text)
    output, results = run_pytest(tmp_path, *[f"test_toys.py::{test.replace('.', '::')}" for test in expected])
    assert results == expected, output


def test_public_names_are_documented_and_load_late():
    import relay_core.testing as kit

    assert all(getattr(kit, name).__doc__ for name in kit.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kit.nothing  # noqa: B018  # the access is the test
    assert json.loads(json.dumps(kit.__all__)) == sorted(kit.__all__)
