"""All exporters at once beside collectors that are all in the same trouble: what calls cost, when programs end, accounts.

One program has every exporter that sends something, and ends as programs do. What it tells of its accounts at its very end
is compared with what the collectors took.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack

import grpc
import pytest

from tests.plugins.observability.otel.receiver import RESPONSES, Answer, collector
from tests.plugins.observability.otel.test_delivery import retry_info
from tests.plugins.observability.streams.collectors import HttpCollector, Server, close_at_once, hang
from tests.plugins.observability.streams.test_websocket import Breaking

LONGEST_EXIT = 5.0
AGENTS, CALLS = 3, 200
EVENTS = AGENTS * (2 * CALLS + 2)
SPANS = AGENTS * (CALLS + 1)
REJECTED = 10

PROGRAM = f"""
import atexit, json, sys, time

ends = {{}}


def tell():
    stats = {{exporter.name: exporter.stats() for exporter in exporters}}
    accounts = {{}}
    for name, found in stats.items():
        if name.startswith("stream:"):
            accounts[name] = found
        elif name == "atif":
            accounts |= {{"atif": upload for upload in found.uploads.values()}}
        elif name != "atof":
            accounts[name] = found.traces
    told = {{
        name: {{key: getattr(one, key) for key in ("accepted", "delivered", "dropped", "pending", "last_error")}}
        for name, one in accounts.items()
    }}
    print(json.dumps({{"exit": time.monotonic() - ends["at"], "calls": calls, "accounts": told}}))


atexit.register(tell)  # before the runtime's own, so that it comes after it

import relay_core
from relay_core.plugins import configure
from relay_plugin_observability import plugin

relay = relay_core.Relay()
configure(relay, sys.argv[1])
[exporters] = map(list, plugin._exporters.values())
calls = []
for number in range({AGENTS}):
    with relay.scope(f"agent-{{number}}", "agent"):
        for n in range({CALLS}):
            began = time.perf_counter()
            relay.call_tool("search", {{"n": n}}, lambda args: args)
            calls.append(time.perf_counter() - began)
    time.sleep(0.2)  # collectors have time to do their worst
ends["at"] = time.monotonic()
"""

TABLES = """
[plugins.observability.atof]
directory = {folder}

[plugins.observability.streams.post]
url = {post}

[plugins.observability.streams.upload]
url = {upload}
transport = "ndjson"

[plugins.observability.streams.socket]
url = {socket}
transport = "websocket"

[plugins.observability.atif]
directory = {folder}
storage = [{{ type = "http", url = {archive} }}]

[plugins.observability.otel]
endpoint = {otel}
name = "otel"

[plugins.observability.otel_destinations.grpc]
endpoint = {grpc}
protocol = "grpc"

[plugins.observability.otel_destinations.openinference]
endpoint = {openinference}
projection = "openinference"
"""


class Babbler(Server):
    """Answers whatever comes with what is no answer."""

    def serve(self, sock):
        sock.recv(65_536)
        sock.sendall(b"\x00\x01\x02 what?\r\n\r\n")


class Deaf(Server):
    """Takes connections and says nothing."""

    def serve(self, sock):
        hang(sock, None)


class Absent:
    """A port that nobody listens on."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


SLOW_DOWN = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n"
MANY = 10_000


def partial(rejected):
    answer = RESPONSES["traces"]()
    answer.partial_success.rejected_spans = rejected
    return answer


# By trouble: what an HTTP endpoint of streams and documents does, an OTLP one over HTTP, one over gRPC.
ANSWERS = {
    "none": ((), (), ()),
    "500": ([500] * MANY, [Answer(500)] * MANY, [(grpc.StatusCode.UNAVAILABLE, ())] * MANY),
    "429": (
        [SLOW_DOWN] * MANY,
        [Answer(429, {"Retry-After": "30"})] * MANY,
        [(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_info(30))] * MANY,
    ),
    "half": ([close_at_once], [Answer(body=partial(REJECTED).SerializeToString())], [partial(REJECTED)]),
}
SILENT = {"hangs": Deaf, "garbage": Babbler}
PLACES = ("post", "upload", "socket", "archive", "otel", "grpc", "openinference")


class Collectors:
    """One collector for each exporter, all with the same trouble."""

    def __init__(self, trouble):
        self.trouble = trouble
        self._stack = ExitStack()

    def __enter__(self):
        if self.trouble in ANSWERS:
            plain, otlp, rpc = ANSWERS[self.trouble]
            enter = self._stack.enter_context
            self.post, self.upload, self.archive = (enter(HttpCollector(*plain)) for _ in range(3))
            self.otel, self.openinference = (enter(collector("http")) for _ in range(2))
            self.grpc = enter(collector("grpc"))
            for one, answers in ((self.otel, otlp), (self.openinference, otlp), (self.grpc, rpc)):
                one.answers = list(answers)
            half = [EVENTS // 2] if self.trouble == "half" else []
            refusing = self.trouble in ("500", "429")
            self.socket = enter(HttpCollector(*[refuse(self.trouble)] * MANY) if refusing else Breaking(*half))
        elif self.trouble == "refuses":
            for name in PLACES:
                setattr(self, name, self._stack.enter_context(Absent()))
        else:
            for name in PLACES:
                setattr(self, name, self._stack.enter_context(SILENT[self.trouble]()))
        return self

    def __exit__(self, *_):
        self._stack.close()

    def tables(self, folder):
        urls = {name: f"http://127.0.0.1:{getattr(self, name).port}" for name in PLACES}
        urls["socket"] = urls["socket"].replace("http", "ws")
        return TABLES.format(folder=json.dumps(str(folder)), **{name: json.dumps(url) for name, url in urls.items()})


def refuse(status):
    """Refuse to open a WebSocket."""

    def answer(sock, stream):
        sock.sendall(SLOW_DOWN if status == "429" else b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")

    return answer


def run(folder, trouble):
    """Run the program to its end; give the collectors and what the program told."""
    folder.mkdir()
    with Collectors(trouble) as there:
        path = folder / "relay.toml"
        path.write_text(there.tables(folder / "runs"))
        path.chmod(0o600)
        command = [sys.executable, "-c", PROGRAM, str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        return there, json.loads(done.stdout.splitlines()[-1])


def median(values):
    return sorted(values)[len(values) // 2]


@pytest.fixture(scope="module")
def well(tmp_path_factory):
    """The program beside collectors that do their work."""
    return run(tmp_path_factory.mktemp("well") / "none", "none")


EMITTED = {
    "stream:post": EVENTS,
    "stream:upload": EVENTS,
    "stream:socket": EVENTS,
    "atif": AGENTS,
    "otel": SPANS,
    "otel:grpc": SPANS,
    "otel:openinference": SPANS,
}


def lines_of(http):
    """The events that an endpoint took, each once."""
    return {line for request in http.requests if request.accepted for line in request.body.splitlines()}


def check_deliveries(there, accounts, rejected):
    """What the accounts call delivered is what the collectors have, but for what they said they rejected."""
    assert {name: one["delivered"] for name, one in accounts.items()} == {
        name: count - (rejected if name.startswith("otel") else 0) for name, count in EMITTED.items()
    }
    for name, one in accounts.items():
        assert one["dropped"] == ({"rejected": rejected} if rejected and name.startswith("otel") else {}), name
    assert len(lines_of(there.post)) == len(lines_of(there.upload)) == EVENTS
    assert len(there.socket.numbers) >= EVENTS  # once more what was not confirmed
    assert sum(request.accepted for request in there.archive.requests) == AGENTS
    for one in (there.otel, there.grpc, there.openinference):
        assert len({span.span_id for span in one.spans()}) == SPANS


def balanced(accounts):
    assert accounts.keys() == EMITTED.keys()
    for name, one in accounts.items():
        assert one["accepted"] == one["delivered"] + sum(one["dropped"].values()) + one["pending"] == EMITTED[name], (
            name
        )


def test_collectors_that_do_their_work_get_everything(well):
    there, told = well
    balanced(told["accounts"])
    check_deliveries(there, told["accounts"], 0)
    assert told["exit"] <= LONGEST_EXIT


@pytest.mark.parametrize("trouble", ["refuses", "hangs", "500", "429", "garbage", "half"])
def test_collectors_in_trouble(trouble, tmp_path):
    there, told = run(tmp_path / trouble, trouble)
    accounts = told["accounts"]
    balanced(accounts)
    if trouble == "half":
        check_deliveries(there, accounts, REJECTED)
    else:
        assert {one["delivered"] for one in accounts.values()} == {0}
        assert trouble == "hangs" or all(one["last_error"] for one in accounts.values()), accounts
        documents = list((tmp_path / trouble / "runs").glob("trajectory-*.json"))
        assert len(documents) == AGENTS, "what cannot be sent stays on the disk"
    if trouble == "429":  # nobody was asked again before the time that it named
        asked = [len(one.requests) for one in (there.post, there.upload, there.archive)]
        asked += [len(one.seen) for one in (there.otel, there.grpc, there.openinference)]
        assert asked == [1] * 6
    assert told["exit"] <= LONGEST_EXIT
    assert median(told["calls"]) < 0.001  # it takes microseconds, a collector in trouble seconds
    assert max(told["calls"]) < 2.0, "a call waited for a collector"
