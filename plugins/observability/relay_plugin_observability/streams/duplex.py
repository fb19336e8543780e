"""A TLS socket that one thread reads while another one writes.

OpenSSL wants one thread at a time for one connection, and Python's ``ssl`` does not see to it: now and then a message that
is written while the other thread reads is lost, and nobody learns of it.
"""

from __future__ import annotations

import selectors
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DuplexSocket"]


class DuplexSocket(ssl.SSLSocket):
    """What ``SSLContext.sslsocket_class`` may be: one thread at a time is inside, and waiting is done outside.

    From the end of the handshake on the connection itself never blocks; the timeout that it is told is kept here.
    """

    _turn: threading.Lock | None = None
    _patience: float | None = None

    def do_handshake(self, block: bool = False) -> None:
        """Do the handshake, which is one thread's work, with the timeout of the socket."""
        super().do_handshake(block)
        self._patience = super().gettimeout()
        super().settimeout(0.0)
        self._turn = threading.Lock()

    def settimeout(self, value: float | None) -> None:
        """Keep the timeout for those who wait."""
        if self._turn is None:
            super().settimeout(value)
        else:
            self._patience = value

    def gettimeout(self) -> float | None:
        """Give the timeout that was told."""
        return super().gettimeout() if self._turn is None else self._patience

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read what there is, or wait for something."""
        return self._taking_turns(lambda: super(DuplexSocket, self).recv(buflen, flags), write=False)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Write all of it; another thread may read in between."""
        left = memoryview(data).cast("B")
        while left:
            part = left
            left = left[self._taking_turns(lambda part=part: super(DuplexSocket, self).send(part, flags), write=True) :]

    def _taking_turns(self, step: Callable[[], Any], *, write: bool) -> Any:
        turn, deadline = self._turn, None
        if turn is None:
            return step()
        if self._patience is not None:
            deadline = time.monotonic() + self._patience
        while True:
            try:
                with turn:
                    return step()
            except ssl.SSLWantReadError:
                write_next = False
            except ssl.SSLWantWriteError:
                write_next = True
            except BlockingIOError:  # somebody has cut the connection
                write_next = write
            self._wait(write_next, deadline)

    def _wait(self, write: bool, deadline: float | None) -> None:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_WRITE if write else selectors.EVENT_READ)
            if not selector.select(left):
                raise TimeoutError("the connection did not get ready in time")
