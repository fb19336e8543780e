"""Small programs, each made anew and run once with the callbacks and the parts that it is given."""

from __future__ import annotations

import asyncio
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolEmulator,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM, FakeStreamingListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, trim_messages
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    RunnableBranch,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    chain,
)
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from tests.adapters.langchain.models import Scripted

PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "{q}")])


class Parts:
    """What the programs are made with: bare, observed, or under policy."""

    def __init__(self, callbacks=(), middleware=(), wrap=lambda part: part):
        self.config: Any = {"callbacks": list(callbacks)}
        self.middleware = list(middleware)
        self.wrap = wrap

    def chat(self, *answers):
        made = [AIMessage(a, id=f"m{i}") if isinstance(a, str) else a for i, a in enumerate(answers)]
        return self.wrap(GenericFakeChatModel(messages=iter(made)))

    def agent(self, *turns, tools=(), middleware=(), **options):
        left = list(turns)
        model = Scripted(body=lambda _: left.pop(0))
        both = [*middleware, *self.middleware]
        return create_agent(self.wrap(model), tools=[self.wrap(t) for t in tools], middleware=both, **options)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def fail(text: str) -> str:
    """Fail."""
    raise ValueError(text)


@tool
def ask(question: str) -> str:
    """Ask."""
    return interrupt(question)


@tool
async def later(n: int) -> int:
    """Wait a little."""
    await asyncio.sleep(0)
    return n


class Library(BaseRetriever):
    """Finds what it is asked for."""

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(query, metadata={"page": 1})]


class City(BaseModel):
    """A city."""

    name: str


def calls(*made):
    asked = [{"name": n, "args": args, "id": f"c{i}", "type": "tool_call"} for i, (n, args) in enumerate(made)]
    return AIMessage("", tool_calls=asked, id="asks")


def go():
    return {"messages": [HumanMessage("go", id="h1")]}


def a_chain(p):
    return (PROMPT | p.chat("one two") | StrOutputParser()).invoke({"q": "x"}, p.config)


def a_streamed_chain(p):
    return list((PROMPT | p.chat("one two three") | StrOutputParser()).stream({"q": "x"}, p.config))


def a_streamed_model(p):
    return list(p.chat("one two three").stream("x", p.config))


def a_stream_left_early(p):
    stream = (PROMPT | p.chat("one two three")).stream({"q": "x"}, p.config)
    first = next(stream)
    stream.close()
    return first


def a_batch(p):
    return (RunnableLambda(lambda n: n + 1) | RunnableLambda(str)).batch(list(range(9)), p.config)


def a_batch_with_failures(p):
    def odd(n):
        if n % 2:
            raise KeyError(n)
        return n

    return RunnableLambda(odd).batch([1, 2, 3, 4], p.config, return_exceptions=True)


def a_batch_of_models(p):
    model = p.wrap(Scripted(body=str.upper))
    return model.batch(["a", "b", "c"], p.config)


def as_completed(p):
    return sorted(RunnableLambda(lambda n: n * n).batch_as_completed([1, 2, 3], p.config))


def parallel(p):
    branches = RunnableParallel(a=RunnableLambda(len), b=RunnablePassthrough(), c=p.wrap(Scripted(body=str.upper)))
    return branches.invoke("abc", p.config)


def branches(p):
    branch = RunnableBranch((lambda q: len(q) > 2, RunnableLambda(str.upper)), RunnableLambda(str.title))
    return branch.batch(["ab", "abc"], p.config)


def assigned(p):
    step = RunnablePassthrough.assign(total=RunnableLambda(lambda d: d["a"] + 1)) | itemgetter("total")
    return step.invoke({"a": 1}, p.config)


def generated(p):
    def words(parts):
        for part in parts:
            yield part.upper()

    return list((p.chat("a b c") | StrOutputParser() | RunnableGenerator(words)).stream("x", p.config))


def decorated(p):
    @chain
    def work(q):
        return add.invoke({"a": len(q), "b": 1})

    return work.invoke("abc", p.config)


def mapped(p):
    return RunnableLambda(str.upper).map().invoke(["a", "b"], p.config)


def a_failure(p):
    return (RunnableLambda(lambda q: q) | RunnableLambda(lambda q: 1 // 0)).invoke("x", p.config)


def retried(p):
    tries = []

    def flaky(q):
        tries.append(q)
        if len(tries) < 3:
            raise ConnectionError(len(tries))
        return len(tries)

    return RunnableLambda(flaky).with_retry(wait_exponential_jitter=False).invoke("x", p.config)


def fallen_back(p):
    broken = p.wrap(Scripted(body=lambda _: 1 // 0))
    return broken.with_fallbacks([p.chat("second")]).invoke("x", p.config)


def fallen_back_in_a_stream(p):
    broken = p.wrap(Scripted(body=lambda _: 1 // 0))
    return list(broken.with_fallbacks([p.chat("the second")]).stream("x", p.config))


def structured(p):
    model = p.wrap(Scripted(body=lambda _: calls(("City", {"name": "Oslo"}))))
    return model.with_structured_output(City, include_raw=True).invoke("where?", p.config)


def parsed_as_json(p):
    return list((p.chat('{"a": [1, 2]}') | JsonOutputParser()).stream("x", p.config))


def bound(p):
    return p.chat("hi").bind(stop=["END"]).with_config(tags=["t"], run_name="mine").invoke("x", p.config)


def text_models(p):
    model = p.wrap(FakeListLLM(responses=["a", "b", "c", "d"]))
    return [
        model.invoke("x", p.config),
        model.batch(["x", "y"], p.config),
        model.generate(["z"]).generations[0][0].text,
    ]


def a_streamed_text_model(p):
    return list(p.wrap(FakeStreamingListLLM(responses=["abc"])).stream("x", p.config))


def several_prompts(p):
    result = p.chat("a", "b").generate([[HumanMessage("x")], [HumanMessage("y")]], callbacks=p.config["callbacks"])
    return [g[0].text for g in result.generations], result.llm_output, len(result.run)


def retrieved(p):
    return (Library() | (lambda docs: docs[0].page_content)).invoke("cats", p.config)


def trimmed(p):
    history = [HumanMessage("x" * n) for n in range(1, 9)]
    return (trim_messages(max_tokens=3, token_counter=len) | RunnableLambda(len)).invoke(history, p.config)


def a_tool(p):
    wrapped = p.wrap(add)
    made = {"name": "add", "args": {"a": 1, "b": 2}, "id": "c", "type": "tool_call"}
    return [wrapped.invoke({"a": 1, "b": 2}, p.config), wrapped.invoke(made, p.config)]


def wrong_arguments(p):
    return p.wrap(add).invoke({"a": "x"}, p.config)


def a_handled_tool_error(p):
    @tool
    def fussy(n: int) -> int:
        """Refuse."""
        raise ToolException("no")

    fussy.handle_tool_error = True
    return p.wrap(fussy).invoke({"n": 1}, p.config)


def custom_events(p):
    def work(q):
        dispatch_custom_event("progress", {"q": q})
        return q

    return RunnableLambda(work).invoke("x", p.config)


def threads(p):
    step = RunnableLambda(str.upper)
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(lambda q: step.invoke(q, p.config), "abcdef"))


def a_raw_thread_inside(p):
    found = []

    def work(q):
        thread = threading.Thread(target=lambda: found.append(add.invoke({"a": 1, "b": 2})))
        thread.start()
        thread.join()
        return found[0]

    return RunnableLambda(work).invoke("x", p.config)


async def an_async_chain(p):
    return await (PROMPT | p.chat("one two") | StrOutputParser()).ainvoke({"q": "x"}, p.config)


async def an_async_stream(p):
    return [c async for c in (PROMPT | p.chat("one two")).astream({"q": "x"}, p.config)]


async def gathered(p):
    step = RunnableLambda(lambda n: n + 1) | p.wrap(later).with_config(run_name="later") | RunnableLambda(str)
    inputs = RunnableLambda(lambda n: {"n": n})
    return await asyncio.gather(
        *((inputs | p.wrap(later) | RunnableLambda(str)).ainvoke(n, p.config) for n in range(5)),
        step.ainvoke(1, p.config),
        return_exceptions=True,
    )


async def streamed_events(p):
    events = (PROMPT | p.chat("one two")).astream_events({"q": "x"}, p.config, version="v2")
    return [(e["event"], e["name"], repr(e["data"].get("chunk"))[:60]) async for e in events]


async def a_cancelled_task(p):
    async def wait(q):
        await asyncio.sleep(30)

    task = asyncio.create_task(RunnableLambda(wait).ainvoke("x", p.config))
    await asyncio.sleep(0)
    task.cancel()
    return repr((await asyncio.gather(task, return_exceptions=True))[0])


def an_agent(p):
    agent = p.agent(calls(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})), "done", tools=[add])
    return agent.invoke(go(), p.config)


def an_agent_step_by_step(p):
    agent = p.agent(calls(("add", {"a": 1, "b": 2})), "done", tools=[add], name="calc")
    modes = ["values", "updates", "messages", "tasks", "checkpoints"]
    return list(agent.stream(go(), p.config, stream_mode=modes))


async def an_async_agent(p):
    agent = p.agent(calls(("later", {"n": 1})), "done", tools=[later])
    return [chunk async for chunk in agent.astream(go(), p.config, stream_mode=["updates", "messages"])]


def an_agent_whose_tool_fails(p):
    return p.agent(calls(("fail", {"text": "no"})), "done", tools=[fail]).invoke(go(), p.config)


def an_agent_that_errs(p):
    return p.agent(calls(("nonsense", {}), ("add", {"a": "x", "b": 1})), "done", tools=[add]).invoke(go(), p.config)


def an_agent_that_is_interrupted(p):
    agent = p.agent(calls(("ask", {"question": "sure?"})), "done", tools=[ask], checkpointer=InMemorySaver())
    config: Any = {**p.config, "configurable": {"thread_id": "t"}}
    state = agent.invoke(go(), config)
    asked = [found.value for found in state["__interrupt__"]]
    answer = agent.invoke(Command(resume="yes"), config)
    history = list(agent.get_state_history(config))
    return asked, answer, len(history), [state.metadata["step"] for state in history]


def an_agent_with_a_form(p):
    agent = p.agent(calls(("City", {"name": "Oslo"})), response_format=ToolStrategy(City))
    return agent.invoke(go(), p.config)["structured_response"]


def an_agent_with_retries(p):
    left: list[Any] = [ConnectionError("down"), "done"]

    def body(_):
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    retry = ModelRetryMiddleware(max_retries=2, initial_delay=0.0, jitter=False)
    agent = create_agent(p.wrap(Scripted(body=body)), middleware=[retry, *p.middleware])
    return agent.invoke(go(), p.config)


def an_agent_with_a_fallback(p):
    second = p.wrap(Scripted(body=lambda _: "second"))
    agent = create_agent(
        p.wrap(Scripted(body=lambda _: 1 // 0)), middleware=[ModelFallbackMiddleware(second), *p.middleware]
    )
    return agent.invoke(go(), p.config)


class Counting(AgentMiddleware):
    """A middleware with a node of its own."""

    def before_model(self, state, runtime):
        return None


def an_agent_with_other_middleware(p):
    agent = p.agent("done", tools=[add], middleware=[Counting()])
    return sorted(agent.get_graph().nodes), list(agent.stream(go(), p.config, stream_mode="updates"))


def an_agent_that_sums_up(p):
    spare = p.wrap(Scripted(body=lambda _: AIMessage("in short", id="s")))
    short = SummarizationMiddleware(spare, trigger=("messages", 4), keep=("messages", 2))
    agent = p.agent("one", "two", middleware=[short], checkpointer=InMemorySaver())
    config: Any = {**p.config, "configurable": {"thread_id": "t"}}
    history = [HumanMessage(str(n), id=f"q{n}") for n in range(5)]
    first = agent.invoke({"messages": history}, config)
    return first, list(agent.stream(go(), config, stream_mode=["updates", "messages"]))


def an_agent_that_is_approved(p):
    asked = calls(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4}))
    people = HumanInTheLoopMiddleware(interrupt_on={"add": True})
    agent = p.agent(asked, "done", tools=[add], middleware=[people], checkpointer=InMemorySaver())
    config: Any = {**p.config, "configurable": {"thread_id": "t"}}
    state = agent.invoke(go(), config)
    edited = {"type": "edit", "edited_action": {"name": "add", "args": {"a": 7, "b": 7}}}
    decided = {"decisions": [edited, {"type": "reject", "message": "no"}]}
    return [found.value for found in state["__interrupt__"]], agent.invoke(Command(resume=decided), config)


def an_agent_with_a_plan(p):
    plan = calls(("write_todos", {"todos": [{"content": "c", "status": "pending"}]}))
    return p.agent(plan, "done", middleware=[TodoListMiddleware()]).invoke(go(), p.config)


def an_agent_with_limits(p):
    limits = [ModelCallLimitMiddleware(run_limit=3), ToolCallLimitMiddleware(run_limit=2)]
    again = [calls(("add", {"a": 1, "b": n})) for n in range(4)]
    return p.agent(*again, tools=[add], middleware=limits).invoke(go(), p.config)


def an_agent_that_hides_addresses(p):
    hide = PIIMiddleware("email", strategy="redact", apply_to_output=True)
    said = {"messages": [HumanMessage("mail to a@example.org", id="h1")]}
    return p.agent(AIMessage("to b@example.org", id="a"), middleware=[hide]).invoke(said, p.config)


def an_agent_that_tries_tools_again(p):
    failures = [ConnectionError("down")]

    @tool
    def flaky(n: int) -> int:
        """Fail once."""
        if failures:
            raise failures.pop()
        return n

    again = ToolRetryMiddleware(max_retries=2, initial_delay=0.0, jitter=False)
    return p.agent(calls(("flaky", {"n": 1})), "done", tools=[flaky], middleware=[again]).invoke(go(), p.config)


class Choosing(Scripted):
    """A model that takes any form."""

    def bind_tools(self, tools, **kwargs):
        return self


def an_agent_that_chooses_tools(p):
    choice = calls(("ToolSelectionResponse", {"tools": ["add"]}))
    choose = LLMToolSelectorMiddleware(model=p.wrap(Choosing(body=lambda _: choice)), max_tools=1)
    return p.agent("done", tools=[add, fail], middleware=[choose]).invoke(go(), p.config)


def an_agent_whose_tools_are_played(p):
    play = LLMToolEmulator(model=p.wrap(Scripted(body=lambda _: "played")))
    return p.agent(calls(("add", {"a": 1, "b": 2})), "done", tools=[add], middleware=[play]).invoke(go(), p.config)


def an_agent_that_forgets(p):
    forget = ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=1, keep=0)])
    return p.agent(calls(("add", {"a": 1, "b": 2})), "done", tools=[add], middleware=[forget]).invoke(go(), p.config)


def plain(event):
    """Give an event of a stream without its times."""
    if isinstance(event, dict):
        return {name: plain(value) for name, value in event.items() if name != "timestamp"}
    return [plain(item) for item in event] if isinstance(event, list | tuple) else event


async def streamed_events_of_version_1(p):
    agent = p.agent(calls(("later", {"n": 1})), "done", tools=[later])
    with quiet():
        return [event async for event in agent.astream_events(go(), p.config, version="v1")]


def streamed_events_of_version_3(p):
    agent = p.agent(calls(("add", {"a": 1, "b": 2})), "done", tools=[add])
    with quiet():
        return [plain(event) for event in agent.stream_events(go(), p.config, version="v3")]


async def async_streamed_events_of_version_3(p):
    agent = p.agent(calls(("later", {"n": 1})), "done", tools=[later])
    with quiet():
        stream = await agent.astream_events(go(), p.config, version="v3")
        return [plain(event) async for event in stream]


@contextmanager
def quiet():
    with warnings.catch_warnings():  # old and new versions are warned of
        warnings.simplefilter("ignore")
        yield


PROGRAMS = [
    found
    for name, found in list(globals().items())
    if callable(found) and getattr(found, "__module__", "") == __name__ and not name[0].isupper()
    if name not in ("calls", "go", "add", "fail", "ask", "later", "plain", "quiet")
]
