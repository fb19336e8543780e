"""The fake provider itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from relay_core.testing.fake_provider.listener import Listener
from relay_core.testing.fake_provider.script import Script, ScriptFunction
from relay_core.testing.fake_provider.state import ProviderState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from relay_core.testing.fake_provider.replies import Answer
    from relay_core.testing.fake_provider.requests import RecordedRequest


class FakeProvider:
    """A model provider on 127.0.0.1 that says what a script tells it to.

    A real HTTP server: any client can be pointed at it. It speaks OpenAI Chat Completions, Responses and Embeddings
    and Anthropic Messages, as JSON and as server-sent events, with and without `/v1`, and below Azure's
    `/openai/deployments/<name>`. Embeddings and models answer by themselves; only a `Failure` or `Drop` that is next
    in the list meets them too. A request that the provider would refuse gets its 400 and uses up no answer.

    Args:
        script: Answers to give in order, or a function from `RecordedRequest` to answer. A function is called from
            several threads when clients are.
        models: What `/v1/models` lists.

    Raises:
        TypeError: The script holds something that is not an answer.

    Example:
        >>> import json
        >>> from http.client import HTTPConnection
        >>> from relay_core.testing.fake_provider import FakeProvider, Reply
        >>> with FakeProvider([Reply(text="Hello")]) as provider:
        ...     client = HTTPConnection("127.0.0.1", provider.port)
        ...     body = {"model": "any", "messages": [{"role": "user", "content": "Hi"}]}
        ...     client.request("POST", "/v1/chat/completions", json.dumps(body))
        ...     answer = json.load(client.getresponse())
        ...     client.close()
        >>> answer["choices"][0]["message"]["content"], len(provider.requests)
        ('Hello', 1)
    """

    def __init__(
        self, script: Iterable[Answer] | ScriptFunction | None = None, *, models: Sequence[str] = ("fake-model",)
    ) -> None:
        self._script = Script(script)
        self._state = ProviderState(self._script, models)
        self._listener: Listener | None = None
        self._port = 0

    def start(self) -> Self:
        """Open the port. `with` does it, too.

        Returns:
            The provider.

        Raises:
            RuntimeError: It is running or was closed.
        """
        if self._port:
            state = "was closed" if self._state.stopping.is_set() else "is running"
            raise RuntimeError(f"This fake provider {state}; make another FakeProvider for another port.")
        self._listener = Listener(self._state)
        self._port = self._listener.port
        self._listener.start()
        return self

    def close(self) -> None:
        """Close the port and all connections, and wait for the threads. Calling it again does nothing."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def enqueue(self, *answers: Answer) -> None:
        """Put answers at the end of the list. With a function as script, the list comes first.

        Args:
            answers: `Reply`, `Echo`, `Failure` or `Drop` objects.

        Raises:
            TypeError: One of them is something else.

        Example:
            >>> from relay_core.testing.fake_provider import Reply
            >>> provider = FakeProvider()
            >>> provider.enqueue(Reply(text="one"), Reply(text="two"))
            >>> provider.remaining
            2
        """
        for answer in answers:
            self._script.add(answer)

    def wait_idle(self, timeout: float = 5.0) -> bool:
        """Wait until no request is being answered: `disconnects` is complete then.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it is idle.

        Example:
            >>> FakeProvider().wait_idle()
            True
        """
        return self._state.wait_idle(timeout)

    @property
    def port(self) -> int:
        """The port, known from the start on.

        Raises:
            RuntimeError: It was never started.
        """
        if not self._port:
            raise RuntimeError("This fake provider has no address yet: use `with FakeProvider(...)` or call start().")
        return self._port

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        """The `base_url` for OpenAI clients, with `/v1`."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The `base_url` for Anthropic clients, which add `/v1` themselves."""
        return self.url

    @property
    def remaining(self) -> int:
        """How many answers of the list are left."""
        return len(self._script)

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far, in arrival order, refused ones included."""
        return self._state.requests

    @property
    def disconnects(self) -> list[RecordedRequest]:
        """The requests whose clients left before the answer was complete."""
        return self._state.disconnects

    @property
    def errors(self) -> list[Exception]:
        """What went wrong on the provider's own side: a script used up, a function that raised."""
        return self._state.errors
