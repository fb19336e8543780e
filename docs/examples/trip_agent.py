"""A travel agent under Relay: everything it does is recorded, and two rules hold whatever the model wants.

    python docs/examples/trip_agent.py

With OPENAI_API_KEY set it asks OpenAI; otherwise a small model provider on this machine plays the model.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

import relay_core
from relay_adapter_langchain import RelayMiddleware
from relay_core.testing.fake_provider import FakeProvider, Reply, ToolCall
from relay_plugin_observability import AtofExporter

QUESTION = "Book me a trip to Lisbon on 12 June: a flight, a hotel, and get rid of my old booking A-17."
HOUSE_RULE = "Never promise refunds."
FAKE_KEY = "sk-proj-" + "Demo0Only1Not2A3Key4" * 2  # what a careless tool may leak; it opens nothing


# --- An ordinary LangChain agent --------------------------------------------------------------------------------------


@tool
def search_flights(city: str, day: str) -> list[dict]:
    """Find flights to a city on a day."""
    return [{"flight": "TP 1350", "to": city, "day": day, "price": 129}]


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"Sunny in {city}, 24 degrees."


@tool
def book_hotel(city: str, nights: int) -> dict:
    """Book a hotel."""
    return {"hotel": "Miradouro", "city": city, "nights": nights, "debug": f"paid with key {FAKE_KEY}"}


@tool
def delete_booking(number: str) -> str:
    """Delete a booking for good."""
    raise RuntimeError(f"booking {number} is gone, and it should not be")


def make_agent(model: ChatOpenAI, relay: relay_core.Relay):
    return create_agent(
        model,
        tools=[search_flights, weather, book_hotel, delete_booking],
        system_prompt="You plan trips.",
        name="trip_agent",
        middleware=[RelayMiddleware(relay)],  # puts its model and tool calls under the rules below
    )


# --- The rules, which the agent knows nothing of ----------------------------------------------------------------------


def add_rules(relay: relay_core.Relay, report: dict) -> list:
    @relay.guardrail("tool")
    def keep_bookings(call):
        if call.name == "delete_booking":
            report["blocked"].append(call.name)
            return relay_core.Block("bookings are not deleted here; ask a human")
        return None

    @relay.request_intercept("llm")
    def house_rules(call):
        view = call.view.map_text(lambda text: text.replace("You plan trips.", f"You plan trips. {HOUSE_RULE}"))
        report["rewritten"].append(f"{call.name}: house rule added, at most 300 tokens")
        return call.replace(request=view.replace(max_output_tokens=300))

    return [keep_bookings, house_rules]


# --- Running it -------------------------------------------------------------------------------------------------------


def fake_script() -> list[Reply]:
    """What the model says when no real one is there."""
    return [
        Reply(
            tool_calls=[
                ToolCall("search_flights", {"city": "Lisbon", "day": "12 June"}),
                ToolCall("weather", {"city": "Lisbon"}),
            ]
        ),
        Reply(
            tool_calls=[
                ToolCall("book_hotel", {"city": "Lisbon", "nights": 3}),
                ToolCall("delete_booking", {"number": "A-17"}),
            ]
        ),
        Reply(
            text="You fly with TP 1350 and stay at the Miradouro. I may not delete booking A-17: please ask a human."
        ),
    ]


def run(
    out: Path,
    base_url: str | None = None,
    api_key: str | None = None,
    relay: relay_core.Relay | None = None,
    show=lambda _: None,
) -> dict:
    """Run the agent once; `show` gets the pieces of the answer as they arrive."""
    relay = relay or relay_core.default
    events = Path(out) / "events.jsonl"
    report = {"answer": "", "blocked": [], "rewritten": [], "events": events}
    with ExitStack() as stack:
        if base_url is None:
            api_key = api_key or os.environ.get("OPENAI_API_KEY")
            if api_key is None:
                base_url = stack.enter_context(FakeProvider(fake_script())).openai_url

        relay.autoload(["langchain"])  # one line: every LangChain run of this process is recorded
        exporter = AtofExporter(path=events)
        stack.callback(exporter.close)
        for handle in [relay.subscriber(exporter), *add_rules(relay, report)]:
            stack.enter_context(handle)  # for this run only

        model = ChatOpenAI(
            model="gpt-4o-mini", streaming=True, stream_usage=True, base_url=base_url, api_key=api_key or "none needed"
        )
        agent = make_agent(model, relay)
        for chunk, _ in agent.stream({"messages": [("user", QUESTION)]}, stream_mode="messages"):
            if isinstance(chunk, AIMessageChunk) and chunk.text:
                report["answer"] += chunk.text
                show(chunk.text)
        relay.flush(timeout=5.0)
    return report


if __name__ == "__main__":
    result = run(Path(), show=lambda text: print(text, end="", flush=True))
    print("\n")
    print("blocked tools:          ", ", ".join(result["blocked"]) or "none")
    print("rewritten model requests:", len(result["rewritten"]))
    print("everything is in:       ", result["events"])
