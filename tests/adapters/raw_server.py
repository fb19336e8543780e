"""A server that gives the bytes it is told to, whatever is asked."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import contextmanager


@contextmanager
def serving(body, content_type="application/json", **headers):
    """Serve one body to every POST; gives the server's address and the list of requests, each its path and JSON."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            given = self.rfile.read(int(self.headers.get("content-length", 0)))
            requests.append((self.path, json.loads(given)))
            self.send_response(200)
            self.send_header("content-type", content_type)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def events(*items, done=False, named=False):
    """Write server-sent events."""
    made = [(f"event: {item['type']}\n" if named else "") + f"data: {json.dumps(item)}\n\n" for item in items]
    return ("".join(made) + ("data: [DONE]\n\n" if done else "")).encode()
