"""What the adapters over LangChain's callbacks check on top: no run stays in the table of those that go on."""

from __future__ import annotations

from relay_adapter_langchain.runs import table_of
from tests.adapters import traces


class Trace(traces.Trace):
    """A runtime, its events, and its table of runs."""

    def table(self):
        return table_of(self.relay)

    def check_form(self):
        self.table().sweep(grace=0.0)
        super().check_form()
        assert len(self.table()) == 0
