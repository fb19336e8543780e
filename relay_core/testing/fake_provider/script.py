"""The script: which answer comes next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from relay_core.testing.fake_provider.replies import Answer, Drop, Failure, Reply
from relay_core.testing.fake_provider.requests import RecordedRequest

ScriptFunction: TypeAlias = Callable[[RecordedRequest], Answer]


class ScriptError(Exception):
    """The script has no usable answer. The client gets a 500 that says so and is told not to retry.

    Example:
        >>> raise ScriptError("nothing left")
        Traceback (most recent call last):
        ...
        relay_core.testing.fake_provider.script.ScriptError: nothing left
    """


class Script:
    """Answers in order, then those of a function if there is one. Safe to use from several threads.

    Args:
        source: A list of answers, or a function from request to answer.

    Raises:
        TypeError: The source is neither.

    Example:
        >>> script = Script([Failure(500, times=2), Reply(text="fine")])
        >>> request = RecordedRequest("POST", "/v1/messages", {}, {}, 0.0)
        >>> [type(script.next(request)).__name__ for _ in range(3)]
        ['Failure', 'Failure', 'Reply']
    """

    def __init__(self, source: Iterable[Answer] | ScriptFunction | None = None) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Answer] = deque()
        self._function: ScriptFunction | None = None
        self._given = 0
        if source is None:
            return
        if callable(source):
            self._function = source
        else:
            for answer in source:
                self.add(answer)

    def add(self, answer: Answer) -> None:
        """Put an answer at the end of the list.

        Args:
            answer: A `Reply`, `Echo`, `Failure` or `Drop`.

        Raises:
            TypeError: It is something else.
        """
        _check(answer, "a script holds")
        times = answer.times if isinstance(answer, Failure | Drop) else 1
        with self._lock:
            self._queue.extend([answer] * times)

    def next(self, request: RecordedRequest) -> Answer:
        """Take the answer for a request.

        Args:
            request: The request, passed to the function if the list is used up.

        Returns:
            The answer.

        Raises:
            ScriptError: The list is used up and there is no function, or the function raised or returned no answer.
        """
        with self._lock:
            if self._queue:
                self._given += 1
                return self._queue.popleft()
            function, given = self._function, self._given
        if function is None:
            raise ScriptError(
                f"The script of the fake provider is used up: it held {given} answer(s), and request "
                f"{request.number} ({request.method} {request.path}) asks for one more. Add an answer to the script, "
                "or call provider.enqueue()."
            )
        try:
            return _check(function(request), "the script function returned")
        except Exception as error:
            raise ScriptError(
                f"The script function of the fake provider failed on request {request.number} "
                f"({request.method} {request.path}): {type(error).__name__}: {error}"
            ) from error

    def next_fault(self) -> Failure | Drop | None:
        """Take the next answer only if it is a fault: embeddings and models have answers of their own.

        Returns:
            The fault, or None.
        """
        with self._lock:
            if self._queue and isinstance(self._queue[0], Failure | Drop):
                self._given += 1
                return self._queue.popleft()  # pyright: ignore[reportReturnType] - the line above checked it
        return None

    def __len__(self) -> int:
        with self._lock:
            return len(self._queue)


def _check(answer: Any, where: str) -> Answer:
    if not isinstance(answer, Reply | Failure | Drop):
        raise TypeError(f"{where} {answer!r}; give a Reply, Echo, Failure or Drop")
    return answer
