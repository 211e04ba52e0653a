"""A client by hand: is the gateway up, is its answer the right one, and many streams at once.

wrk measures; this looks. Everything has a time limit, and no answer is kept beyond ANSWER_MAX.
"""

import selectors
import socket
import time

ANSWER_MAX = 1 << 20
READ_SECONDS = 10
RETRY_SECONDS = 0.0005


class Refused(Exception):
    """The answer is not the one that the case is about."""


def request(port, path, body):
    """The bytes of a POST as wrk sends it, on a connection of its own."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"apikey: my-key\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def ask(port, path, body):
    """One whole answer, head and body as they came."""
    with socket.create_connection(("127.0.0.1", port), READ_SECONDS) as stream:
        stream.sendall(request(port, path, body))
        answer = b""
        while len(answer) < ANSWER_MAX and (more := stream.recv(65536)):
            answer += more
    return answer


def expect(port, path, body, parts):
    """An answer with status 200 that holds every one of `parts`, in whatever case of letters."""
    answer = ask(port, path, body)
    missing = [part for part in parts if part.lower() not in answer.lower()]
    if not answer.startswith(b"HTTP/1.1 200 ") or missing:
        start = answer[:400].decode(errors="replace")
        raise Refused(f"{path}: the answer is no 200 with {missing or list(parts)}: {start}")
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
    """Open streams; what arrives is counted and dropped."""

    def __init__(self, port, path, body, count):
        self.selector = selectors.DefaultSelector()
        self.heads = {}
        self.events = {}
        self.ended = 0
        for _ in range(count):
            stream = socket.create_connection(("127.0.0.1", port), READ_SECONDS)
            stream.sendall(request(port, path, body))
            stream.setblocking(False)
            self.selector.register(stream, selectors.EVENT_READ)
            self.heads[stream], self.events[stream] = b"", 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in self.heads:
            stream.close()
        self.selector.close()

    def read(self, seconds):
        """Takes what comes within the time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self.selector.select(left):
                self.take(key.fileobj)

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

    def check(self, events_min):
        """All must be 200, still open, and well on their way."""
        refused = sum(head != b"HTTP/1.1 200" for head in self.heads.values())
        behind = sum(events < events_min for events in self.events.values())
        if refused or behind or self.ended:
            raise Refused(
                f"of {len(self.heads)} streams {refused} got no 200, {self.ended} ended early, "
                f"{behind} had fewer than {events_min} events"
            )
