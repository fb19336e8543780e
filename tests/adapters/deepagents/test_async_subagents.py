"""Subagents on a server: the calls that start and watch them are seen and governed; what they do there is not."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from deepagents import create_deep_agent

import relay_core
from tests.adapters.deepagents.agents import Scripted, ask, call


class Server(BaseHTTPRequestHandler):
    """As much of the protocol as starting a task takes."""

    asked: list[str] = []

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        type(self).asked.append(self.path)
        what = {"run_id": "run-1", "status": "pending"} if self.path.endswith("/runs") else {}
        body = json.dumps({"thread_id": "thread-1", **what}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def server():
    Server.asked = []
    found = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    thread.join()
    found.server_close()


def agent(url):
    remote = {"name": "remote", "description": "Works elsewhere.", "graph_id": "worker", "url": url}
    start = call("start_async_task", description="dig", subagent_type="remote")
    return create_deep_agent(Scripted(script={"go": [start]}), subagents=[remote])


def test_starting_one_is_a_tool_call(observed, server):
    messages = ask(agent(server))
    assert "thread-1" in messages[2].text
    started = observed.one("tool", "start_async_task")
    assert started.status == "ok"
    assert started.start["data"]["subagent_type"] == "remote"
    assert "thread-1" in json.dumps(started.end["data"])  # by which the server's own trace can be found
    assert Server.asked == ["/threads", "/threads/thread-1/runs"]


def test_starting_one_can_be_blocked(observed, server):
    observed.relay.register("guardrail", lambda c: relay_core.Block("stay here"), target="tool")
    assert ask(agent(server))[2].text == "stay here"
    assert Server.asked == []
