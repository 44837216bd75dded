"""Free ports on the loopback interface.

They are taken from below the range from which systems draw the ports of outgoing
connections. Otherwise a client that keeps reconnecting while a server is down could be given
that server's own port, connect to itself, and keep the server from coming back.
"""

import secrets
import socket

import psutil

from tapeline.cli.stack.errors import PortBusy, StackError

LOOPBACK = "127.0.0.1"
FIRST = 20_000
LAST = 29_999


def is_free(port: int) -> bool:
    """Whether a server can listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of a server that just ended must not count (TIME_WAIT).
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    # Some systems allow a bind beside a listener on all addresses: ask that one too.
    return not answers(port)


def answers(port: int, host: str = LOOPBACK, timeout_s: float = 1.0) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def free_port(*, besides: tuple[int, ...] = ()) -> int:
    """A port nobody listens on, drawn at random so that parallel stacks seldom collide."""
    start = secrets.randbelow(LAST - FIRST + 1)
    for step in range(LAST - FIRST + 1):
        port = FIRST + (start + step) % (LAST - FIRST + 1)
        if port not in besides and is_free(port):
            return port
    raise StackError(
        f"No port between {FIRST} and {LAST} is free on {LOOPBACK}.",
        "End processes that hold them, or point to existing servers.",
    )


def require_free(port: int, what: str) -> None:
    """Raise PortBusy, naming the holder where the system tells."""
    if not is_free(port):
        raise PortBusy(
            f"Port {port} for {what} is taken{_holder(port)}.",
            f"End that process, or choose another port for {what}.",
        )


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return ""
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        ):
            try:
                name = psutil.Process(connection.pid).name()
            except psutil.Error:
                name = "process"
            return f" by {name} (pid {connection.pid})"
    return ""
