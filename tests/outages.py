"""A way to a server on loopback that breaks when it is told to: it refuses connections, or lets nothing through."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Mood = Literal["refuse", "stall"]


class Way:
    """`port` leads to the server at `target`, unless it is broken."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._is_open = threading.Event()
        self._is_open.set()
        self._ends: set[socket.socket] = set()
        self._listener = _listening(0)
        self.port: int = self._listener.getsockname()[1]
        self._accept()

    @contextmanager
    def broken(self, mood: Mood) -> Iterator[None]:
        """refuse: connections are cut and none is made; stall: they stay, and what is sent arrives afterwards."""
        if mood == "stall":
            self._is_open.clear()
        else:
            self._stop_listening()
            for end in list(self._ends):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        try:
            yield
        finally:
            if mood == "stall":
                self._is_open.set()
            else:
                self._listener = _listening(self.port)
                self._accept()

    def break_for(self, mood: Mood, seconds: float) -> threading.Thread:
        """From now on, meanwhile."""
        begun = threading.Event()

        def breaking() -> None:
            with self.broken(mood):
                begun.set()
                time.sleep(seconds)

        thread = threading.Thread(target=breaking)
        thread.start()
        begun.wait()
        return thread

    def close(self) -> None:
        self._stop_listening()
        self._is_open.set()

    def _stop_listening(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listener.close()

    def _accept(self) -> None:
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                ours, _ = listener.accept()
            except OSError:  # closed
                return
            theirs = socket.create_connection(("127.0.0.1", self._target))
            self._ends |= {ours, theirs}
            for ends in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(2**16):
                self._is_open.wait()
                sink.sendall(content)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._ends.discard(end)


def _listening(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=64)


@contextmanager
def way_to(target: int) -> Iterator[Way]:
    """Until the end of the block."""
    way = Way(target)
    try:
        yield way
    finally:
        way.close()
