"""A proxy before PostgreSQL that can be cut, also at the moment of a COMMIT."""

from __future__ import annotations

import socket
from contextlib import suppress
from enum import Enum
from threading import Event, Lock, Thread


class Cut(Enum):
    """What happens to the next COMMIT."""

    NEVER = "never"
    BEFORE = "before it reaches the server"
    AFTER = "when the server has answered, before the answer reaches the client"


class TcpProxy:
    """Relays connections on a loopback port while the block lasts."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = Lock()
        self._open: list[socket.socket] = []
        self._threads: list[Thread] = []
        self._is_down = False
        self._cut = Cut.NEVER
        self.was_cut = Event()
        self.was_refused = Event()

    def __enter__(self) -> TcpProxy:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut_all()
        for thread in self._threads:
            thread.join(5)

    def cut_next_commit(self, cut: Cut) -> None:
        """Loses the connection at the next COMMIT."""
        self.was_cut.clear()
        self._cut = cut

    def go_down(self) -> None:
        """Cuts everything and lets nothing in."""
        self._is_down = True
        self._cut_all()

    def come_back(self) -> None:
        """Lets connections in again."""
        self._is_down = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_down:
                client.close()
                self.was_refused.set()
                continue
            server = socket.create_connection(self._target)
            with self._lock:
                self._open += [client, server]
            answers = _Answers()
            self._spawn(self._relay, client, server, answers, True)
            self._spawn(self._relay, server, client, answers, False)

    def _relay(
        self, source: socket.socket, sink: socket.socket, answers: _Answers, is_client: bool
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_client and b"COMMIT" in data and self._cut is not Cut.NEVER:
                    cut, self._cut = self._cut, Cut.NEVER
                    if cut is Cut.BEFORE:
                        break
                    answers.is_swallowed = True
                elif not is_client and answers.is_swallowed:
                    break
                sink.sendall(data)
        if answers.is_swallowed or is_client:
            self.was_cut.set()
        _shut(source)
        _shut(sink)

    def _cut_all(self) -> None:
        with self._lock:
            sockets, self._open = self._open, []
        for one in sockets:
            _shut(one)

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)


class _Answers:
    """Shared by the two directions of one connection."""

    is_swallowed = False


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
