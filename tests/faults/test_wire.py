"""The wires break as they are told to; everything else in this folder relies on it."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import pytest

from .wire import HOST, Wire

PATIENCE = 10


@pytest.fixture
def wire():
    """Whatever is sent through it comes back."""
    with socket.create_server((HOST, 0)) as listener:
        echoing = threading.Thread(target=echo_all, args=[listener])
        echoing.start()
        with Wire(listener.getsockname()[1]) as wire:
            yield wire
        listener.shutdown(socket.SHUT_RDWR)
        echoing.join()


def echo_all(listener):
    while True:
        try:
            end, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=echo, args=[end]).start()


def echo(end):
    with end:
        try:
            while data := end.recv(100):
                end.sendall(data)
        except OSError:
            return


@contextmanager
def connected(wire):
    with socket.create_connection((HOST, wire.port), timeout=PATIENCE) as end:
        yield end


def exchange(end, data):
    end.sendall(data)
    return end.recv(100)


def test_it_passes_on_what_is_sent_either_way(wire):
    with connected(wire) as one, connected(wire) as other:
        assert [exchange(one, b"one"), exchange(other, b"other")] == [b"one", b"other"]
        assert len(wire.far_ports()) == 2


def test_a_reset_ends_a_connection_and_not_the_next(wire):
    with connected(wire) as end, connected(wire) as other:
        exchange(end, b"before")
        exchange(other, b"before")

        assert wire.reset() == 2

        with pytest.raises(ConnectionResetError):
            end.recv(100)
    with connected(wire) as end:
        assert exchange(end, b"after") == b"after"


def test_where_it_is_cut_nobody_is_connected_until_it_is_mended(wire):
    with connected(wire) as end:
        exchange(end, b"before")

        assert wire.cut() == 1

        with pytest.raises(ConnectionResetError):
            end.recv(100)
    with pytest.raises(ConnectionError), connected(wire) as end:
        exchange(end, b"meanwhile")
    wire.mend()
    with connected(wire) as end:
        assert exchange(end, b"after") == b"after"


def test_a_hushed_connection_is_silent_and_the_next_is_not(wire):
    with connected(wire) as end:
        exchange(end, b"before")

        assert wire.hush() == 1

        end.sendall(b"nobody hears this")
        with connected(wire) as other:
            assert exchange(other, b"after") == b"after"
        end.settimeout(0.1)
        with pytest.raises(TimeoutError):
            end.recv(100)


def test_what_is_held_comes_when_it_is_let_go(wire):
    with connected(wire) as end:
        exchange(end, b"before")
        wire.hold()

        end.sendall(b"held")

        end.settimeout(0.1)
        with pytest.raises(TimeoutError):
            end.recv(100)
        end.settimeout(PATIENCE)
        wire.let_go()
        assert end.recv(100) == b"held"
