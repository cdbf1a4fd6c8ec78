"""The client's end of a WebSocket, as bare as it can be: it must never be what a benchmark waits for."""

from __future__ import annotations

import resource
import socket
import struct

TEXT, CLOSE, PING = 0x81, 0x88, 0x89  # first bytes of unfragmented frames, RFC 6455, 5.2
READ = 1 << 14  # bytes at once; room for more would be costly to make each time
MASK = b"\0\0\0\0"  # which leaves what it masks as it is


class ClientSocket:
    """A non-blocking WebSocket that was told to connect; it is up when the handshake was answered."""

    def __init__(self, port: int, path: str, room: int = 0) -> None:
        """With so many bytes of room for what was not read yet; 0: as many as the system gives it."""
        self.is_up = False
        self.closed_by = ""
        self.close_code: int | None = None
        self.buffer = b""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if room:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.socket.connect_ex(("127.0.0.1", port))
        self.greeting = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def fileno(self) -> int:
        return self.socket.fileno()

    def greet(self) -> None:
        """Ask for the upgrade, once the TCP connection is there."""
        self.socket.sendall(self.greeting)

    def send(self, text: bytes) -> None:
        self.socket.sendall(frame(TEXT, text))

    def receive(self) -> list[bytes]:
        """The texts that have arrived since; pings among them are answered."""
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        if not data:
            self.closed_by = self.closed_by or "no close frame"
            return []
        self.buffer = self.buffer + data if self.buffer else data
        if not self.is_up and not self.shake_hands():
            return []
        return self.take_texts()

    def shake_hands(self) -> bool:
        head, ended, rest = self.buffer.partition(b"\r\n\r\n")
        if not ended:
            return False
        if b" 101 " not in head[:16]:
            self.closed_by = head.partition(b"\r\n")[0].decode()
            return False
        self.is_up, self.buffer = True, rest
        return True

    def take_texts(self) -> list[bytes]:
        texts, buffer, start = [], self.buffer, 0
        while len(buffer) - start >= 2:
            kind, length, body = buffer[start], buffer[start + 1], start + 2
            if length == 126:
                body += 2
                length = int.from_bytes(buffer[start + 2 : body], "big") if len(buffer) >= body else 1 << 62
            elif length == 127:
                body += 8
                length = int.from_bytes(buffer[start + 2 : body], "big") if len(buffer) >= body else 1 << 62
            end = body + length
            if end > len(buffer):
                break
            if kind == TEXT:
                texts.append(buffer[body:end])
            elif kind == PING:
                self.socket.sendall(frame(0x8A, buffer[body:end]))
            else:
                self.closed_by = f"a frame of kind {kind:#x}: {buffer[body:end]!r}"
                self.close_code = int.from_bytes(buffer[body : body + 2], "big") if kind == CLOSE else None
            start = end
        self.buffer = buffer[start:] if start else buffer
        return texts

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Be gone without a farewell."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def frame(kind: int, body: bytes) -> bytes:
    """A masked frame, as a client sends it."""
    size = len(body)
    head = struct.pack("!BB", kind, 0x80 | size) if size < 126 else struct.pack("!BBH", kind, 0xFE, size)
    return head + MASK + body


def raise_limit() -> None:
    """As many open files as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
