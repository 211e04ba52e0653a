#!/usr/bin/env python3
"""What a request through silverback costs, as a ratio to nginx `proxy_pass` in the same run.

    cargo build --release && bench/compare.py          all cases, about eight minutes
    bench/compare.py --quick --only plain key          a first look, some seconds a case

One worker each, the simulator's lean mode as Azure, load from wrk, all on loopback. How to read the
table, and what it does not say: docs/benchmarks.md.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import probe
import rig

ROOT = pathlib.Path(__file__).resolve().parent.parent
AZURE_PATH = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
OPEN_FILES = 16384


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long and how often."""

    warm_seconds: int
    window_seconds: int
    rounds: int
    starts: int
    streams_rounds: int


FULL = Pace(warm_seconds=2, window_seconds=4, rounds=5, starts=9, streams_rounds=3)
QUICK = Pace(warm_seconds=1, window_seconds=1, rounds=2, starts=3, streams_rounds=1)


DONE = (b"data: [DONE]", b"text/event-stream")


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

    def body(self):
        body = {"messages": [{"role": "user", "content": "x" * self.prompt_bytes}]}
        if self.events:
            body["stream"] = True
        return json.dumps(body).encode()

    def sim_flags(self):
        return ["--stream-events", str(self.events), "--event-delay-ms", str(self.delay_ms)]


LOADS = [
    Load("plain", "a Route without plugins, 1 KB", AZURE_PATH),
    Load("lua", "as plain, and a Lua plugin of five PDK calls", "/lua" + AZURE_PATH),
    Load("lua10", "as plain, and ten such plugins", "/lua10" + AZURE_PATH),
    Load("key", "key-auth, ai-proxy-advanced with an API key, 1 KB", "/key"),
    Load("identity", "the same with a managed identity", "/identity"),
    Load("hello", "as key, and the Lua plugin hello", "/hello", expects=(b"x-hello: hello",)),
    Load("prompt", "as key, 16 KB", "/key", prompt_bytes=16 << 10),
    Load("burst", "as key, a stream: 100 events at once", "/key", events=100, expects=DONE),
    # More of them, because they wait most of the time and a clock tick is 10 ms.
    Load(
        "paced",
        "as key, a stream: 100 events, 2 ms apart",
        "/key",
        events=100,
        delay_ms=2,
        connections=64,
        expects=DONE,
    ),
]
# Open for a minute, longer than it takes to look at them.
SLOW = Load("streams", "memory of 1,000 open streams", "/key", events=240, delay_ms=250)
SLOW_COUNT = 1000
SETTLE_SECONDS = 0.5
NAMES = [load.name for load in LOADS] + ["idle", SLOW.name]


@dataclasses.dataclass
class Row:
    """A line of the table with its raw values, oldest first."""

    case: str
    about: str
    unit: str
    nginx: list
    silverback: list
    ratios: list
    voided: int = 0
    windows: list = dataclasses.field(default_factory=list)


def main():
    options = arguments()
    # `with` blocks end the processes, on a stop signal as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return run(options)
    except (rig.Broken, probe.Refused, OSError, subprocess.SubprocessError) as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1


def arguments():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds a case: a first look")
    cases = {"nargs": "+", "choices": NAMES, "default": NAMES, "metavar": "CASE"}
    parser.add_argument("--only", **cases, help=f"of {', '.join(NAMES)}")
    parser.add_argument("--binary", type=pathlib.Path, default=target / "release" / "silverback")
    raw = "where the raw values go (%(default)s)"
    parser.add_argument("--out", type=pathlib.Path, default=target / "bench.json", help=raw)
    return parser.parse_args()


def run(options):
    for name in rig.PACKAGES:
        rig.tool(name)
    if not options.binary.is_file():
        raise rig.Broken(f"{options.binary} does not exist: cargo build --release")
    if rig.allow_open_files(OPEN_FILES) < 3 * SLOW_COUNT and SLOW.name in options.only:
        raise rig.Broken(f"streams needs {3 * SLOW_COUNT} open files: ulimit -n, or leave it out")
    pace, cores = (QUICK if options.quick else FULL), rig.Cores()
    about = machine(options.binary, cores)
    print("\n".join(f"{name}: {value}" for name, value in about.items()), file=sys.stderr)
    rows = []
    with tempfile.TemporaryDirectory(prefix="silverback-bench-") as directory:
        bench = Bench(options.binary.resolve(), pathlib.Path(directory), cores, pace)
        for name in (name for name in NAMES if name in options.only):
            rows += bench.case(name)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    raw = {"machine": about, "pace": pace, "rows": rows}
    options.out.write_text(json.dumps(raw, indent=1, default=dataclasses.asdict) + "\n")
    print(table(rows) + added(rows) + f"\n\nraw values: {options.out}")
    return 1 if any(row.voided for row in rows) else 0


class Bench:
    """Runs cases one after the other, each with processes of its own."""

    def __init__(self, binary, directory, cores, pace):
        self.binary, self.directory, self.cores, self.pace = binary, directory, cores, pace

    def case(self, name):
        special = {"idle": self.idle, SLOW.name: self.slow_streams}
        if name in special:
            return special[name]()
        return [self.load(next(load for load in LOADS if load.name == name))]

    def rig(self, load):
        return rig.Rig(self.binary, self.directory, self.cores, load.sim_flags())

    def gateways(self, processes, load):
        """nginx and silverback, up: name → (process, port, path)."""
        nginx, silverback = processes.nginx(streams=load.events > 0), processes.silverback()
        started = {"nginx": (*nginx, AZURE_PATH), "silverback": (*silverback, load.path)}
        for process, port, _ in started.values():
            probe.wait_until_open(port, rig.START_SECONDS, process.check)
        return started

    def load(self, load):
        """Windows in turn, nginx first and last, so that each of ours has one on either side."""
        body = self.directory / "body.json"
        body.write_bytes(load.body())
        windows = []
        with self.rig(load) as processes:
            gateways = self.gateways(processes, load)
            sizes = {}
            for name, (_, port, path) in gateways.items():
                expects = load.expects if name == "silverback" else ()
                sizes[name] = len(probe.expect(port, path, load.body(), expects))
                wrk(self.cores, port, path, body, load.connections, self.pace.warm_seconds)
            turns = ["nginx", "silverback"] * self.pace.rounds + ["nginx"]
            for turn, name in enumerate(turns, 1):
                seen = self.window(processes.sim, gateways[name], body, load.connections)
                if load.delay_ms:
                    # Few end within a window, and all at once: parts of them count as well.
                    seen["requests"] = seen["bytes"] / sizes[name]
                seen["cpu_us"] = seen["cpu_seconds"] * 1e6 / max(seen["requests"], 1)
                windows.append({"gateway": name, **seen})
                say(f"{load.name} {turn}/{len(turns)}: {described(windows[-1])}")
        return row_of(load, windows)

    def window(self, sim, gateway, body, connections):
        process, port, path = gateway
        before = clocks(process, sim)
        sums = wrk(self.cores, port, path, body, connections, self.pace.window_seconds)
        gateway_seconds, ours, busy = (b - a for a, b in zip(before, clocks(process, sim)))
        process.check()
        return {
            **sums,
            "void": bool(sums["not_2xx"] or sums["socket_errors"] or not sums["requests"]),
            "cpu_seconds": gateway_seconds,
            # What the rest of the machine did meanwhile, in percent of one core.
            "others_percent": 100 * max(busy - ours, 0) / sums["seconds"],
        }

    def idle(self):
        """Fresh processes: how soon they answer, and what they hold when nothing goes on."""
        plain = LOADS[0]
        start, memory = ({"nginx": [], "silverback": []} for _ in range(2))
        with self.rig(plain) as processes:
            for turn in range(1, self.pace.starts + 1):
                for name in start:
                    process, port = getattr(processes, name)()
                    probe.wait_until_open(port, rig.START_SECONDS, process.check)
                    probe.expect(port, AZURE_PATH, plain.body(), plain.expects)
                    start[name].append((time.monotonic() - process.started) * 1e3)
                    time.sleep(SETTLE_SECONDS)
                    memory[name].append(process.pss_kib() / 1024)
                    process.stop()
                    seen = f"{start[name][-1]:.1f} ms, {memory[name][-1]:.1f} MiB"
                    say(f"idle {turn}/{self.pace.starts}: {name} {seen}")
        return [
            pairs("start", "start to first answer", "ms", start),
            pairs("idle", "memory after one request", "MiB", memory),
        ]

    def slow_streams(self):
        """What 1,000 streams add to the memory, well before their end."""
        added = {"nginx": [], "silverback": []}
        with self.rig(SLOW) as processes:
            for turn in range(1, self.pace.streams_rounds + 1):
                for name, (process, port, path) in self.gateways(processes, SLOW).items():
                    with probe.Streams(port, path, SLOW.body(), 1) as stream:
                        stream.read(1)
                        stream.check(1)
                    before = process.pss_kib()
                    with probe.Streams(port, path, SLOW.body(), SLOW_COUNT) as streams:
                        streams.read(4)
                        streams.check(8)
                        added[name].append((process.pss_kib() - before) / SLOW_COUNT)
                    process.stop()
                    seen = f"{added[name][-1]:.1f} KiB"
                    say(f"streams {turn}/{self.pace.streams_rounds}: {name} {seen}")
        return [pairs(SLOW.name, SLOW.about, "KiB/stream", added)]


def wrk(cores, port, path, body, connections, seconds):
    """One run of wrk; the sums that load.lua prints."""
    command = [rig.tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", rig.HERE / "load.lua", f"http://127.0.0.1:{port}{path}", "--", body]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cores.load),
    )
    try:
        return json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise rig.Broken(f"wrk: {ended.stdout}{ended.stderr}") from None


def clocks(gateway, sim):
    """CPU seconds so far: of the gateway, of all that is ours, of the machine."""
    gateway_seconds = gateway.cpu_seconds()
    ours = gateway_seconds + sim.cpu_seconds()
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        ours += sum(resource.getrusage(who)[:2])
    return gateway_seconds, ours, rig.busy_seconds()


def row_of(load, windows):
    """Ours over the mean of the windows of nginx beside it, where none of the three is void."""
    micros = [None if window["void"] else window["cpu_us"] for window in windows]
    ratios = []
    for left, ours, right in zip(micros[0::2], micros[1::2], micros[2::2]):
        if None not in (left, ours, right):
            ratios.append(ours / ((left + right) / 2))
    nginx = [value for value in micros[0::2] if value is not None]
    silverback = [value for value in micros[1::2] if value is not None]
    voided = micros.count(None)
    return Row(load.name, load.about, "us/request", nginx, silverback, ratios, voided, windows)


def pairs(case, about, unit, values):
    ratios = [ours / nginx for nginx, ours in zip(*values.values()) if nginx > 0]
    return Row(case, about, unit, values["nginx"], values["silverback"], ratios)


def described(window):
    name = window["gateway"]
    if window["void"]:
        errors = f"{window['not_2xx']} answers not 2xx, {window['socket_errors']} socket errors"
        return f"{name} VOID: {window['requests']} requests, {errors}"
    rate = window["requests"] / window["seconds"]
    seen = f"{name} {window['cpu_us']:.1f} us, {rate:.0f}/s, p99 {window['p99_ms']:.1f} ms"
    return f"{seen}, others {window['others_percent']:.0f}% of a core"


def table(rows):
    """Medians; the spread is the smallest and the largest ratio."""
    line = "| {:<8} | {:>10} | {:>7} | {:>10} | {:>5} | {:>11} | {} |".format
    lines = [line("case", "unit", "nginx", "silverback", "ratio", "spread", "what")]
    lines.append(line("---", "---:", "---:", "---:", "---:", "---:", "---"))
    for row in rows:
        halves = (f"{statistics.median(h):.1f}" if h else "-" for h in (row.nginx, row.silverback))
        ratio = f"{statistics.median(row.ratios):.2f}" if row.ratios else "void"
        spread = f"{min(row.ratios):.2f}-{max(row.ratios):.2f}" if row.ratios else "-"
        about = row.about + (f" ({row.voided} windows void)" if row.voided else "")
        lines.append(line(row.case, row.unit, *halves, ratio, spread, about))
    return "\n".join(lines)


def added(rows):
    """What the Lua plugins add to a plain request, in microseconds of nginx' windows."""
    by_case = {row.case: row for row in rows if row.ratios}
    if "plain" not in by_case:
        return ""
    line = ""
    for case in ("lua", "lua10"):
        if case in by_case:
            here, plain = by_case[case], by_case["plain"]
            more = statistics.median(here.ratios) - statistics.median(plain.ratios)
            micros = more * statistics.median(here.nginx + plain.nginx)
            line += f"\n{case} adds {micros:.1f} us to plain"
    return "\n" + line if line else ""


def machine(binary, cores):
    """What the figures were taken on."""
    def first_line(*command):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return ((ended.stdout + ended.stderr).splitlines() or ["unknown"])[0]

    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    cpu = [line for line in lines if line.startswith("model name")]
    load = os.getloadavg()[0]
    return {
        "silverback": first_line(binary, "version"),
        "nginx": first_line(rig.tool("nginx"), "-v"),
        "wrk": first_line(rig.tool("wrk"), "-v").partition(" Copyright")[0],
        "cpu": cpu[0].partition(":")[2].strip() if cpu else platform.machine(),
        "kernel": platform.release(),
        "cores": cores.describe(),
        "load before": f"{load:.2f}" + (" (others are at work: mind the spread)" * (load > 0.5)),
    }


def say(line):
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
