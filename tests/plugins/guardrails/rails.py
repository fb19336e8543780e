"""Rails that tests use, and helpers to look at what leaves."""

from __future__ import annotations

import logging

import relay_core
from relay_plugin_observability import AtofExporter

SECRET = "hunter2-is-the-word"
REGEX = f"""
models: []
rails:
  config:
    regex_detection:
      input: {{patterns: ["{SECRET}"]}}
      output: {{patterns: ["{SECRET}"]}}
      retrieval: {{patterns: ["{SECRET}"]}}
  input: {{flows: [regex check input]}}
  output: {{flows: [regex check output]}}
"""
COLANG = """
define subflow mask input
  $user_message = execute mask(text=$user_message)

define subflow mask output
  $bot_message = execute mask(text=$bot_message)

define subflow mask chunks
  $relevant_chunks = execute mask(text=$relevant_chunks)

define subflow crash input
  $x = execute crash(text=$user_message)

define subflow crash output
  $x = execute crash(text=$bot_message)

define subflow slow input
  $x = execute slow(text=$user_message)
"""


def flows(**names):
    lines = "".join(f"  {kind}: {{flows: [{name}]}}\n" for kind, name in names.items())
    return f"models: []\nrails:\n{lines}"


MASK = {"yaml": flows(input="mask input", output="mask output"), "colang": COLANG}


async def mask(text):
    return text.replace(SECRET, "<MASKED>")


class Watch(logging.Handler):
    """A runtime whose events, file and logs are searched for the secret when it is left."""

    def __init__(self, folder, **options):
        super().__init__()
        self.relay = relay_core.Relay(**options)
        self.file = folder / "events.jsonl"
        self.exporter = AtofExporter(str(self.file))
        self.relay.register("subscriber", self.exporter)
        self.events = []
        self.relay.subscriber(self.events.append, name="watch")
        self.logged = []

    def emit(self, record):
        self.logged.append(
            f"{record.getMessage()} {logging.Formatter().formatException(record.exc_info) if record.exc_info else ''}"
        )

    def __enter__(self):
        root = logging.getLogger()
        self.level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        return self

    def __exit__(self, kind, value, tb):
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self.level)
        self.relay.shutdown(timeout=5.0)
        self.exporter.close(2.0)

    def flush(self):
        assert not self.relay.flush(timeout=10.0).timed_out
        return self.events

    def leaked(self, *secrets):
        """Give where any of the secrets shows: events, the exporter's file, logs."""
        self.flush()
        self.exporter.flush(5.0)
        written = self.file.read_bytes()
        assert written, "the exporter has written nothing"
        places = []
        for secret in secrets or (SECRET,):
            places += ["file"] if secret.encode() in written else []
            places += [f"event {e.name}" for e in self.events if secret.encode() in e.to_json()]
            places += [f"log {line}" for line in self.logged if secret in line]
        return places

    def checks(self, surface=None):
        """Give the outputs of the checks, in order."""
        return [
            event.data
            for event in self.flush()
            if event.kind == "scope"
            and event.scope_category == "end"
            and event.category == "guardrail"
            and surface in (None, event.name.removeprefix("guardrails."))
        ]

    def decisions(self, surface=None):
        return [data["decision"] for data in self.checks(surface)]
