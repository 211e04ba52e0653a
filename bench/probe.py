"""A client by hand: is the gateway up, is its answer the right one, and many streams at once.

wrk measures; this looks. Everything has a time limit, and no answer is kept beyond ANSWER_MAX.
"""

import dataclasses
import selectors
import socket
import time

ANSWER_MAX = 1 << 20
READ_SECONDS = 30
RETRY_SECONDS = 0.0005
KEY = (("apikey", "my-key"),)
AGENT = "silverback-bench/1"


class Refused(Exception):
    """The answer is not the one that the case is about."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A POST of JSON."""

    path: str
    body: bytes
    headers: tuple = KEY

    def wire(self, port, close=True):
        """Its bytes."""
        head = [f"POST {self.path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
        head += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        head += [f"User-Agent: {AGENT}", *(f"{name}: {value}" for name, value in self.headers)]
        head += ["Connection: close"] * close + ["", ""]
        return "\r\n".join(head).encode() + self.body

    def lua(self):
        """The same as a table for load.lua."""
        known = ("Content-Type", "application/json"), ("User-Agent", AGENT)
        headers = (*known, *self.headers)
        pairs = ", ".join(f'["{name}"] = [[{value}]]' for name, value in headers)
        body = self.body.decode()
        return f"{{ path = [[{self.path}]], headers = {{ {pairs} }}, body = [==[{body}]==] }}"


def connect(port):
    stream = socket.create_connection(("127.0.0.1", port), READ_SECONDS)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def exchange(port, wire):
    """One whole answer, head and body as they came, on a connection that the gateway closes."""
    with connect(port) as stream:
        stream.sendall(wire)
        answer = b""
        while len(answer) < ANSWER_MAX and (more := stream.recv(65536)):
            answer += more
    return answer


def expect(port, request, parts):
    """An answer with status 200 that holds every one of `parts`, in whatever case of letters."""
    answer = exchange(port, request.wire(port))
    missing = [part for part in parts if part.lower() not in answer.lower()]
    if not answer.startswith(b"HTTP/1.1 200 ") or missing:
        start = answer[:400].decode(errors="replace")
        raise Refused(f"{request.path}: no 200 with {missing or list(parts)}: {start}")
    return answer


def wait_until_open(port, seconds, check):
    """Waits for a listener; `check` raises when its process has died."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            check()
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)


class Streams:
    """Open connections with a request on each; what arrives is counted and dropped."""

    def __init__(self, port, request, count, send=True):
        self.selector = selectors.DefaultSelector()
        self.heads = {}
        self.events = {}
        self.ended = 0
        self.wire = request.wire(port)
        for _ in range(count):
            stream = connect(port)
            if send:
                stream.sendall(self.wire)
            stream.setblocking(False)
            self.selector.register(stream, selectors.EVENT_READ)
            self.heads[stream], self.events[stream] = b"", 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in self.heads:
            stream.close()
        self.selector.close()

    def send(self):
        """The request on every connection, all at once."""
        for stream in self.heads:
            stream.sendall(self.wire)

    def read(self, seconds):
        """Takes what comes within the time, or until all have ended; gives how long it took."""
        started = time.monotonic()
        while (left := started + seconds - time.monotonic()) > 0 and self.ended < len(self.heads):
            for key, _ in self.selector.select(left):
                self.take(key.fileobj)
        return time.monotonic() - started

    def take(self, stream):
        try:
            data = stream.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.ended += 1
            self.selector.unregister(stream)
        if len(self.heads[stream]) < 12:
            self.heads[stream] += data[:12]
        self.events[stream] += data.count(b"data: ")

    def refused(self):
        """How many have not got a 200."""
        return sum(head != b"HTTP/1.1 200" for head in self.heads.values())

    def read_until(self, events_min, seconds):
        """Until each has so many events; all must be 200 and still open then."""
        deadline = time.monotonic() + seconds
        behind = len(self.heads)
        while behind and time.monotonic() < deadline and not self.ended:
            self.read(0.5)
            behind = sum(events < events_min for events in self.events.values())
        if self.refused() or behind or self.ended:
            raise Refused(
                f"of {len(self.heads)} streams {self.refused()} got no 200, {self.ended} ended "
                f"early, {behind} had fewer than {events_min} events"
            )
