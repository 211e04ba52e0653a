"""What is measured: the loads that wrk puts on gateways, and the names of all cases."""

import dataclasses
import json

import probe

AZURE_PATH = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
DONE = (b"data: [DONE]", b"text/event-stream")
# Any hundred events end with an event of usage or a reason, and with [DONE]: these are not counted.
EVENTS = 100


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long and how often."""

    warm_seconds: int
    window_seconds: int
    rounds: int
    starts: int
    streams_rounds: int
    growth_requests: int


FULL = Pace(2, 4, 5, starts=9, streams_rounds=3, growth_requests=1_000_000)
QUICK = Pace(1, 1, 2, starts=3, streams_rounds=1, growth_requests=50_000)


@dataclasses.dataclass(frozen=True)
class Load:
    """A case of requests over and over. nginx gets the same ones at Azure's own path."""

    name: str
    about: str
    path: str
    prompt_bytes: int = 900
    events: int = 0
    delay_ms: int = 0
    connections: int = 16
    expects: tuple = (b'"usage"',)
    headers: tuple = ()
    # Peers take part where a chat is translated: they are no plain proxies.
    peers: bool = False
    # Streams that are open at once; 0 where wrk sends.
    many: int = 0

    def body(self, **more):
        body = {**more, "messages": [{"role": "user", "content": "x" * self.prompt_bytes}]}
        if self.events:
            body["stream"] = True
        return json.dumps(body).encode()

    def at_azure(self):
        return probe.Request(AZURE_PATH, self.body(), probe.KEY + self.headers)

    def at_silverback(self):
        return probe.Request(self.path, self.body(), probe.KEY + self.headers)

    def sim_flags(self):
        return ["--stream-events", str(self.events), "--event-delay-ms", str(self.delay_ms)]


def stream(name, about, **more):
    return Load(name, about, "/key", events=EVENTS, expects=DONE, peers=True, **more)


# What the plugin of bench/lua says, before the answer of the model.
LUA = b"x-lua: ", b'"usage"'

LOADS = [
    Load("plain", "a Route without plugins, 1 KB", AZURE_PATH),
    Load("lua", "as plain, and a Lua plugin of five PDK calls", "/lua" + AZURE_PATH, expects=LUA),
    Load("lua10", "as plain, and ten such plugins", "/lua10" + AZURE_PATH, expects=LUA),
    Load(
        "native10",
        "as plain, and ten native plugins",
        "/native10" + AZURE_PATH,
        expects=(b"access-control-allow-origin", b"x-by: bench", b"ratelimit-remaining"),
        headers=(("Origin", "https://app.example"),),
    ),
    Load("key", "key-auth, ai-proxy-advanced with an API key, 1 KB", "/key", peers=True),
    Load("keylua", "as key, and a Lua plugin of five PDK calls", "/keylua", expects=LUA),
    Load("identity", "as key, with a managed identity", "/identity"),
    Load("hello", "as key, and the Lua plugin hello", "/hello", expects=(b"x-hello: hello",)),
    Load("prompt16", "as key, 16 KB", "/key", prompt_bytes=16 << 10, peers=True),
    Load("prompt256", "as key, 256 KB", "/key", prompt_bytes=256 << 10, peers=True),
    stream("burst", "as key, a stream: 100 events at once"),
    # More of them, because they wait most of the time and a clock tick is 10 ms.
    stream("paced", "as key, a stream: 100 events, 2 ms apart", delay_ms=2, connections=64),
]
BY_NAME = {load.name: load for load in LOADS}
PLAIN, KEY = BY_NAME["plain"], BY_NAME["key"]
# Open for a minute or more, longer than it takes to look at them.
SLOW = [
    Load("streams1k", "", "/key", events=120, delay_ms=1_000, many=1_000, peers=True),
    Load("streams10k", "", "/key", events=30, delay_ms=4_000, many=10_000),
]
# First bytes are looked at while there is time between events.
FIRST = stream("first", "first byte of a stream", delay_ms=2)

SPECIAL = {
    "latency": "what a chat takes longer, at 50 a second",
    "first": "what the first byte of a stream takes longer, at 10 a second",
    "idle": "start to first answer, and memory after it",
    "loaded": "memory under load, 256 connections",
    "streams1k": "memory that 1,000 open streams add",
    "streams10k": "memory that 10,000 open streams add",
    "consumers": "key-auth among 100,000 consumers instead of one",
    "routes": "the router with 10,000 Routes instead of one",
    "tokens": "1,000 first requests at once: calls for a token",
    "growth": "memory over many mixed requests",
}
NAMES = [*BY_NAME, *SPECIAL]
