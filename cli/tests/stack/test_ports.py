"""Which ports are free, and what is said when one is not."""

import os
import socket

import pytest

from tapeline.cli.stack import ports
from tapeline.cli.stack.errors import PortBusy


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_with_a_listener_is_busy_and_its_holder_is_named(address: str) -> None:
    with socket.create_server((address, 0)) as listener:
        port = listener.getsockname()[1]
        assert not ports.is_free(port)
        with pytest.raises(PortBusy) as raised:
            ports.require_free(port, "Kafka")
    assert f"Port {port} for Kafka is taken" in raised.value.cause
    assert f"(pid {os.getpid()})" in raised.value.cause
    assert "another port" in raised.value.remedy


def test_a_free_port_lies_below_those_of_outgoing_connections() -> None:
    first = ports.free_port()
    second = ports.free_port(besides=(first,))
    assert first != second
    assert all(ports.FIRST <= port <= ports.LAST < 32_768 for port in (first, second))
    ports.require_free(first, "Kafka")


def test_connections_of_a_server_that_just_ended_do_not_keep_its_port_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = listener.accept()
        served.close()  # The server closes first: its end stays in TIME_WAIT.
        client.close()
    assert ports.is_free(port)
