"""Requests at a fixed rate whatever the answers do, and how long each took.

wrk sends the next request when an answer is there, so a gateway that is slow gets fewer and looks
better than it is. Here a request goes out when it is due, on a connection that is free or a new
one, and its time counts from when it was due.
"""

import collections
import re
import selectors
import time

import probe

LATE_SECONDS = 10
SPIN_SECONDS = 0.002
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Connection:
    """One request at a time; what came of the answer so far."""

    def __init__(self, port):
        self.stream = probe.connect(port)
        self.due = self.first = 0.0
        self.answer = b""

    def send(self, wire, due):
        self.due, self.first, self.answer = due, 0.0, b""
        self.stream.sendall(wire)

    def take(self, now):
        """Whether the answer is complete."""
        data = self.stream.recv(65536)
        if not data:
            raise probe.Refused(f"closed within an answer: {self.answer[:200]!r}")
        self.answer += data
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise probe.Refused(f"no 200: {self.answer[:400].decode(errors='replace')}")
        if body and not self.first:
            self.first = now
        if CHUNKED.search(head):
            return body.endswith(b"0\r\n\r\n")
        length = LENGTH.search(head)
        if not length:
            raise probe.Refused(f"neither a length nor chunks: {head.decode(errors='replace')}")
        return len(body) >= int(length[1])


def run(port, request, rate, seconds):
    """Milliseconds to the first byte of the body and to its end, of every request."""
    wire = request.wire(port, close=False)
    selector = selectors.DefaultSelector()
    free, firsts, wholes = collections.deque(), [], []
    start = time.perf_counter() + 0.05
    dues = collections.deque(start + n / rate for n in range(int(rate * seconds)))
    connections = []
    under_way = 0
    try:
        while dues or under_way:
            now = time.perf_counter()
            if dues and now >= dues[0]:
                if not free:
                    connections.append(Connection(port))
                    selector.register(connections[-1].stream, 1, connections[-1])
                    free.append(connections[-1])
                free.popleft().send(wire, dues.popleft())
                under_way += 1
                continue
            # A selector counts in milliseconds: the last two are waited for awake.
            wait = max(dues[0] - now - SPIN_SECONDS, 0) if dues else LATE_SECONDS
            ready = selector.select(wait)
            if not ready and not dues:
                raise probe.Refused(f"{under_way} answers are not there after {LATE_SECONDS} s")
            now = time.perf_counter()
            for key, _ in ready:
                connection = key.data
                if connection.take(now):
                    firsts.append((connection.first - connection.due) * 1e3)
                    wholes.append((now - connection.due) * 1e3)
                    free.append(connection)
                    under_way -= 1
    finally:
        for connection in connections:
            connection.stream.close()
        selector.close()
    return firsts, wholes


def percentile(values, percent):
    """The value below which so many percent lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]
