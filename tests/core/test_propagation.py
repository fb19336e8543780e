"""The current scope in carriers: written, read back, carried across processes, and hostile input."""

from __future__ import annotations

import http.client
import http.server
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from email.message import Message
from wsgiref.headers import Headers

import pytest
from hypothesis import given
from hypothesis import strategies as st

import relay_core as relay
from relay_core.propagation import extract, extract_env, inject, inject_env

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
FOREIGN = f"00-{TRACE}-{SPAN}-01"
ROOT = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
PARENT = "4bf92f35-77b3-4da6-00f0-67aa0ba902b7"


def ids(scope):
    return scope.parent_uuid, scope.root_uuid


# -- out --------------------------------------------------------------------------------------------------------------


def test_inject_writes_both_contexts(runtime):
    with runtime.scope("root", "agent") as root, runtime.scope("leaf") as leaf:
        carrier = inject(runtime)
    assert list(carrier) == ["traceparent", "relay-context"]
    assert carrier["traceparent"] == f"00-{root.uuid.replace('-', '')}-{leaf.uuid.replace('-', '')[16:]}-01"
    assert json.loads(carrier["relay-context"]) == {"version": 1, "parent_uuid": leaf.uuid, "root_uuid": root.uuid}


def test_inject_takes_any_scope_and_nothing_without_one(runtime):
    mine = {"a": "b"}
    assert inject(runtime, mine) is mine == {"a": "b"}
    scope = runtime.open_scope("apart", parent=None)
    assert extract(runtime, inject(runtime, mine, scope)).uuid == scope.uuid
    assert inject(runtime, {}, None) == {} == inject(runtime, {}, runtime.scope("never opened"))
    assert inject_env(runtime) == {}


def test_inject_replaces_what_was_there_in_any_case(runtime):
    carrier = {"Traceparent": FOREIGN, "TRACESTATE": "a=1", "Relay-Context": "old", "Accept": "*/*"}
    with runtime.scope("s"):
        inject(runtime, carrier)
    assert sorted(carrier) == ["Accept", "relay-context", "traceparent"]


def test_inject_into_other_kinds_of_headers(runtime):
    message, headers = Message(), Headers([("TraceParent", FOREIGN), ("traceparent", FOREIGN)])
    with runtime.scope("s") as scope:
        inject(runtime, message)
        inject(runtime, headers)
    assert extract(runtime, message).uuid == extract(runtime, headers).uuid == scope.uuid
    assert len(headers.get_all("traceparent")) == 1


@pytest.mark.parametrize("carrier", [[], (), "text", 3, b"x", bytearray(3)])
def test_inject_into_what_takes_no_entries_is_misuse(runtime, carrier):
    with runtime.scope("s"), pytest.raises(relay.UsageError, match="a carrier is a mutable mapping"):
        inject(runtime, carrier)


# -- in ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        dict,
        lambda c: {k.upper(): v for k, v in c.items()},
        lambda c: {k.title().encode(): v.encode() for k, v in c.items()},
        lambda c: [(k.encode(), v.encode()) for k, v in c.items()],
        lambda c: [[k, v] for k, v in c.items()],
        lambda c: iter(c.items()),
        lambda c: {f"HTTP_{k.upper().replace('-', '_')}": v for k, v in c.items()},
        lambda c: {k: [v] for k, v in c.items()},
        lambda c: {k: f"  {v}\t" for k, v in c.items()},
        lambda c: Headers(list(c.items())),
    ],
)
def test_extract_reads_many_kinds_of_carriers(runtime, shape):
    with runtime.scope("root", "agent") as root, runtime.scope("leaf") as leaf:
        carrier = inject(runtime)
    remote = extract(runtime, shape(carrier))
    assert (remote.uuid, remote.root_uuid, remote.traceparent) == (leaf.uuid, root.uuid, carrier["traceparent"])


def test_an_extracted_scope_is_a_parent(runtime):
    other = relay.Relay()
    with runtime.scope("root", "agent") as root, runtime.scope("leaf") as leaf:
        carrier = inject(runtime)
    remote = extract(other, carrier)
    assert ids(other.open_scope("child", parent=remote)) == (leaf.uuid, root.uuid)
    with remote, other.scope("child") as child:
        assert ids(child) == (leaf.uuid, root.uuid)
    assert other.current() is None


def test_a_foreign_trace_becomes_a_parent_with_identities_made_from_it(runtime):
    remote = extract(runtime, {"traceparent": FOREIGN, "tracestate": "vendor=abc,other=1"})
    assert (remote.uuid, remote.root_uuid, remote.tracestate) == (PARENT, ROOT, "vendor=abc,other=1")
    with remote, runtime.scope("child") as child:
        onward = inject(runtime)
    assert ids(child) == (PARENT, ROOT)
    assert onward["traceparent"].split("-")[:2] == ["00", TRACE]  # the same trace goes on
    assert onward["tracestate"] == "vendor=abc,other=1"  # unchanged
    assert inject(runtime, {}, remote)["traceparent"] == FOREIGN


@pytest.mark.parametrize(("flags", "onward"), [("00", "00"), ("01", "01"), ("03", "01"), ("02", "00")])
def test_what_upstream_does_not_sample_stays_unsampled(runtime, flags, onward):
    with extract(runtime, {"traceparent": FOREIGN[:-2] + flags}), runtime.scope("child"):
        assert inject(runtime)["traceparent"].endswith(f"-{onward}")


def test_relays_own_context_wins_over_a_span_of_something_in_between(runtime):
    with runtime.scope("root") as root:
        carrier = inject(runtime)
    carrier["traceparent"] = FOREIGN
    carrier["tracestate"] = "vendor=1"
    remote = extract(runtime, carrier)
    assert (remote.uuid, remote.root_uuid, remote.traceparent) == (root.uuid, root.uuid, FOREIGN)
    with remote:
        assert "tracestate" not in inject(runtime)  # it belongs to another trace


def test_a_context_without_root_has_its_parent_as_root(runtime):
    remote = extract(runtime, {"relay-context": json.dumps({"version": 1, "parent_uuid": PARENT.upper(), "more": [1]})})
    assert remote.uuid == remote.root_uuid == PARENT


def test_later_versions_of_traceparent_are_read_as_far_as_known(runtime):
    assert extract(runtime, {"traceparent": f"cc-{TRACE}-{SPAN}-01-what-ever"}).uuid == PARENT
    with extract(runtime, {"traceparent": f"cc-{TRACE}-{SPAN}-01"}):
        assert inject(runtime)["traceparent"] == FOREIGN


# -- hostile ----------------------------------------------------------------------------------------------------------

BAD_PARENTS = [
    "", "x" * 1_000_000, FOREIGN.upper(), f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-0", f"0-{TRACE}-{SPAN}-01", f"00-{TRACE}g-{SPAN}-01",
    f"00-{TRACE[:-1]}-{SPAN}-01", f"{FOREIGN}, {FOREIGN}", f"{FOREIGN}\n", "00_" + FOREIGN[3:], None, 7, {}, object(), [FOREIGN, FOREIGN[:-1] + "0"],
    "\u0660\u0660" + FOREIGN[2:], f"cc-{TRACE}-{SPAN}-01x", f"00-{TRACE[:30]}_1-{SPAN}-01", b"\xff" * 55,
]  # fmt: skip
BAD_STATES = [
    "", "a", "=1", "a=", "a=1,a=2", "A=1", "a=1," * 33, ",".join(f"k{i}=v" for i in range(10_000)), "a=\x00",
    "a=" + "v" * 257, "k" * 257 + "=v", "a=1 ,b", "é=1", "a=é", "x" * 1_000_000, 3, None,
]  # fmt: skip
BAD_CONTEXTS = [
    "", "{", "null", "[]", "1", '"x"', "[" * 8000, "{" * 8000, "x" * 1_000_000, '{"version":1}', 5, None,
    json.dumps({"version": 2, "parent_uuid": PARENT}), json.dumps({"version": "1", "parent_uuid": PARENT}),
    json.dumps({"version": True, "parent_uuid": PARENT}), json.dumps({"version": 1, "parent_uuid": 3}),
    json.dumps({"version": 1, "parent_uuid": "../../etc/passwd"}), json.dumps({"version": 1, "parent_uuid": "0" * 36}),
    json.dumps({"version": 1, "parent_uuid": "00000000-0000-0000-0000-000000000000"}),
    json.dumps({"version": 1, "parent_uuid": "4bf92f35-77b3-4da6-0000-000000000000"}),
    json.dumps({"version": 1, "parent_uuid": PARENT, "root_uuid": "bad"}), '{"version":1,"parent_uuid":"\\ud800"}',
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_PARENTS, ids=lambda v: repr(v)[:20])
def test_a_bad_traceparent_is_ignored(runtime, value):
    assert extract(runtime, {"traceparent": value, "tracestate": "a=1"}) is None


@pytest.mark.parametrize("value", BAD_STATES, ids=lambda v: repr(v)[:20])
def test_a_bad_tracestate_is_dropped_and_the_parent_kept(runtime, value):
    remote = extract(runtime, {"traceparent": FOREIGN, "tracestate": value})
    assert (remote.uuid, remote.tracestate) == (PARENT, None)


@pytest.mark.parametrize("value", BAD_CONTEXTS, ids=lambda v: repr(v)[:20])
def test_a_bad_relay_context_is_ignored_and_the_trace_used(runtime, value):
    assert extract(runtime, {"relay-context": value}) is None
    assert extract(runtime, {"relay-context": value, "traceparent": FOREIGN}).uuid == PARENT


def test_headers_sent_twice(runtime):
    twice = [(b"traceparent", FOREIGN.encode()), (b"Traceparent", FOREIGN.encode())]
    assert extract(runtime, twice).uuid == PARENT  # the same
    assert extract(runtime, [*twice, (b"traceparent", FOREIGN[:-1].encode() + b"0")]) is None  # not the same
    states = [*twice, (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    assert extract(runtime, states).tracestate == "a=1,b=2"


@pytest.mark.parametrize(
    "carrier", [None, 3, "text", b"bytes", [1, 2], [(1, 2, 3)], object(), {1: 2}, [("a",)], {"": ""}]
)
def test_what_is_no_carrier_gives_no_parent(runtime, carrier):
    assert extract(runtime, carrier) is None


def test_carriers_that_raise_or_never_end(runtime):
    class Raises(dict):
        def items(self):
            raise RuntimeError

    def endless():
        while True:
            yield "x", "y"

    assert extract(runtime, Raises()) is None and extract(runtime, endless()) is None
    assert runtime.stats()["counters"] == {"bad_carriers": 1}


TEXT = st.one_of(
    st.text(), st.binary(), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"), st.integers()
)
NAMES = st.sampled_from(["traceparent", "tracestate", "relay-context", "TRACEPARENT", b"tracestate", "other"])


@given(st.lists(st.tuples(NAMES, TEXT)))
def test_no_carrier_is_an_error_and_what_is_read_can_be_sent_on(pairs):
    remote = extract(relay.default, pairs)
    if remote is not None:
        again = extract(relay.default, inject(relay.default, {}, remote))
        assert (again.uuid, again.tracestate) == (remote.uuid, remote.tracestate)


def test_a_state_made_by_hand_cannot_smuggle_headers(runtime):
    remote = relay.RemoteScope(PARENT, root_uuid=ROOT, traceparent=FOREIGN, tracestate="a=1\r\nset-cookie: x=y")
    assert "tracestate" not in inject(runtime, {}, remote)


# -- across processes -------------------------------------------------------------------------------------------------

CHILD = """
import relay_core as relay
from relay_core.propagation import extract_env
with extract_env(relay.default), relay.scope("child") as child:
    print(child.parent_uuid, child.root_uuid)
"""


def test_a_subprocess_continues_the_tree(runtime):
    with runtime.scope("root", "agent") as root, runtime.scope("leaf") as leaf:
        env = {**os.environ, **inject_env(runtime)}
    found = subprocess.run([sys.executable, "-c", CHILD], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [leaf.uuid, root.uuid]


def test_a_stale_trace_state_of_the_environment_does_not_reach_the_child(runtime, monkeypatch):
    monkeypatch.setenv("TRACESTATE", "stale=1")
    with runtime.scope("s"):
        env = {**os.environ, **inject_env(runtime)}
    assert extract_env(runtime, env).tracestate is None
    monkeypatch.setenv("TRACEPARENT", FOREIGN)
    assert extract_env(runtime).tracestate == "stale=1"


def test_a_spawned_worker_continues_the_tree(runtime):
    with runtime.scope("root", "agent") as root, runtime.scope("leaf") as leaf:
        carrier = inject(runtime)
    # This file is imported by its path here, so the worker gets the source of the function instead of its name.
    code = "import relay_core as relay\nfrom relay_core.propagation import extract\n"
    code += "with extract(relay.default, carrier), relay.scope('child') as child:\n"
    code += "    queue.put((child.parent_uuid, child.root_uuid))\n"
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=exec, args=(code, {"carrier": carrier, "queue": queue}))
    process.start()
    assert queue.get(timeout=30) == (leaf.uuid, root.uuid)
    process.join(10)
    queue.close()
    assert process.exitcode == 0


def test_a_bound_thread_continues_the_tree(runtime):
    seen = []
    with runtime.scope("root") as root:
        thread = threading.Thread(target=runtime.bind(lambda: seen.append(inject(runtime))))
        thread.start()
        thread.join()
    assert extract(runtime, seen[0]).uuid == root.uuid


def test_an_http_server_continues_the_tree(runtime):
    server_runtime = relay.Relay()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with extract(server_runtime, self.headers), server_runtime.scope("serve") as scope:
                body = json.dumps(ids(scope)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        with runtime.scope("root", "agent") as root, runtime.scope("fetch") as fetch:
            connection.request("GET", "/", headers=inject(runtime, {"accept": "application/json"}))
            found = json.loads(connection.getresponse().read())
        connection.close()
        server.shutdown()
        thread.join()
    assert found == [fetch.uuid, root.uuid]
