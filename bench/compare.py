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
CONNECTIONS = 16


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


@dataclasses.dataclass(frozen=True)
class Load:
    """A case of requests over and over. nginx gets the same ones at Azure's own path."""

    name: str
    about: str
    path: str
    prompt_bytes: int = 900
    events: int = 0
    delay_ms: int = 0
    expects: tuple = (b'"usage"',)

    def body(self):
        body = {"messages": [{"role": "user", "content": "x" * self.prompt_bytes}]}
        if self.events:
            body["stream"] = True
        return json.dumps(body).encode()

    def sim_flags(self):
        return ["--stream-events", str(self.events), "--event-delay-ms", str(self.delay_ms)]


STREAM = (b"data: [DONE]", b"text/event-stream")
LOADS = [
    Load("plain", "a Route without plugins, 1 KB", AZURE_PATH),
    Load("key", "key-auth, ai-proxy-advanced with an API key, 1 KB", "/key"),
    Load("identity", "the same with a managed identity", "/identity"),
    Load("hello", "as key, and the Lua plugin hello", "/hello", expects=(b"x-hello: hello",)),
    Load("prompt", "as key, 16 KB", "/key", prompt_bytes=16 << 10),
    Load("burst", "as key, a stream: 100 events at once", "/key", events=100, expects=STREAM),
    Load("paced", "as key, a stream: 100 events, 2 ms apart", "/key", events=100, delay_ms=2,
         expects=STREAM),
]  # fmt: skip
# Open for a minute, longer than it takes to look at them.
SLOW = Load("streams", "memory of 1,000 open streams", "/key", events=240, delay_ms=250)
SLOW_COUNT = 1000
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
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="CASE",
                        help=f"of {', '.join(NAMES)}")  # fmt: skip
    parser.add_argument("--binary", type=pathlib.Path, default=target / "release" / "silverback")
    parser.add_argument("--out", type=pathlib.Path, default=target / "bench.json",
                        help="where the raw values go (%(default)s)")  # fmt: skip
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
    print(table(rows) + f"\n\nraw values: {options.out}")
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
        """nginx and silverback, up and giving the right answer: name → (process, port, path)."""
        nginx, silverback = processes.nginx(streams=load.events > 0), processes.silverback()
        started = {"nginx": (*nginx, AZURE_PATH), "silverback": (*silverback, load.path)}
        for process, port, _ in started.values():
            probe.wait_until_open(port, rig.START_SECONDS, process.check)
        if not load.delay_ms:
            for name, (_, port, path) in started.items():
                expects = load.expects if name == "silverback" else ()
                probe.expect(port, path, load.body(), expects)
        return started

    def load(self, load):
        """Windows in turn, nginx first and last, so that each of ours has one on either side."""
        body = self.directory / "body.json"
        body.write_bytes(load.body())
        windows = []
        with self.rig(load) as processes:
            gateways = self.gateways(processes, load)
            for process, port, path in gateways.values():
                wrk(self.cores, port, path, body, self.pace.warm_seconds)
            turns = ["nginx", "silverback"] * self.pace.rounds + ["nginx"]
            for turn, name in enumerate(turns, 1):
                seen = self.window(processes.sim, gateways[name], body)
                windows.append({"gateway": name, **seen})
                say(f"{load.name} {turn}/{len(turns)}: {described(windows[-1])}")
        return row_of(load, windows)

    def window(self, sim, gateway, body):
        process, port, path = gateway
        before = clocks(process, sim)
        sums = wrk(self.cores, port, path, body, self.pace.window_seconds)
        gateway_seconds, ours, busy = (b - a for a, b in zip(before, clocks(process, sim)))
        process.check()
        requests = sums["requests"]
        return {
            **sums,
            "void": bool(sums["not_2xx"] or sums["socket_errors"] or not requests),
            "cpu_us": gateway_seconds * 1e6 / max(requests, 1),
            # What the rest of the machine did meanwhile, in percent of one core.
            "others_percent": 100 * max(busy - ours, 0) / sums["seconds"],
        }

    def idle(self):
        """Fresh processes: how soon they answer, and what they hold when nothing goes on."""
        plain = LOADS[0]
        values = {"nginx": [], "silverback": []}
        with self.rig(plain) as processes:
            for turn in range(self.pace.starts):
                for name, start in (("nginx", processes.nginx), ("silverback", processes.silverback)):
                    process, port = start()
                    probe.wait_until_open(port, rig.START_SECONDS, process.check)
                    probe.expect(port, AZURE_PATH, plain.body(), plain.expects)
                    answered_ms = (time.monotonic() - process.started) * 1e3
                    time.sleep(0.5)
                    values[name].append((answered_ms, process.pss_kib() / 1024))
                    process.stop()
                    say(f"idle {turn + 1}/{self.pace.starts}: {name} "
                        f"{values[name][-1][0]:.1f} ms, {values[name][-1][1]:.1f} MiB")  # fmt: skip
        start, memory = ({n: [v[i] for v in values[n]] for n in values} for i in (0, 1))
        return [
            pairs("start", "start to first answer", "ms", start),
            pairs("idle", "memory after one request", "MiB", memory),
        ]

    def slow_streams(self):
        """What 1,000 streams add to the memory, half a minute before their end."""
        values = {"nginx": [], "silverback": []}
        with self.rig(SLOW) as processes:
            for turn in range(self.pace.streams_rounds):
                gateways = self.gateways(processes, SLOW)
                for name, (process, port, path) in gateways.items():
                    with probe.Streams(port, path, SLOW.body(), 1) as stream:
                        stream.read(1)
                        stream.check(1)
                    before = process.pss_kib()
                    with probe.Streams(port, path, SLOW.body(), SLOW_COUNT) as streams:
                        streams.read(4)
                        streams.check(8)
                        values[name].append((process.pss_kib() - before) / SLOW_COUNT)
                    process.check()
                    process.stop()
                    say(f"streams {turn + 1}/{self.pace.streams_rounds}: {name} "
                        f"{values[name][-1]:.1f} KiB")  # fmt: skip
        return [pairs(SLOW.name, SLOW.about, "KiB/stream", values)]


def wrk(cores, port, path, body, seconds):
    """One run of wrk; the sums that load.lua prints."""
    command = [rig.tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s"]
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
    own = sum(sum(resource.getrusage(who)[:2])
              for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))  # fmt: skip
    return gateway_seconds, gateway_seconds + sim.cpu_seconds() + own, rig.busy_seconds()


def row_of(load, windows):
    """Ours over the mean of the windows of nginx beside it, where none of the three is void."""
    micros = [None if window["void"] else window["cpu_us"] for window in windows]
    turns = zip(micros[0::2], micros[1::2], micros[2::2])
    ratios = [ours / ((left + right) / 2) for left, ours, right in turns
              if None not in (left, ours, right)]  # fmt: skip
    nginx, silverback = ([value for value in half if value is not None]
                         for half in (micros[0::2], micros[1::2]))  # fmt: skip
    voided = micros.count(None)
    return Row(load.name, load.about, "us/request", nginx, silverback, ratios, voided, windows)


def pairs(case, about, unit, values):
    ratios = [b / a for a, b in zip(values["nginx"], values["silverback"]) if a > 0]
    return Row(case, about, unit, values["nginx"], values["silverback"], ratios)


def described(window):
    if window["void"]:
        return (f"{window['gateway']} VOID: {window['not_2xx']} answers not 2xx, "
                f"{window['socket_errors']} socket errors")  # fmt: skip
    return (f"{window['gateway']} {window['cpu_us']:.1f} us, "
            f"{window['requests'] / window['seconds']:.0f}/s, p99 {window['p99_ms']:.1f} ms, "
            f"others {window['others_percent']:.0f}% of a core")  # fmt: skip


def table(rows):
    """Medians; the spread is the smallest and the largest ratio."""
    middle = lambda values: f"{statistics.median(values):.1f}" if values else "-"
    line = "| {:<8} | {:>11} | {:>8} | {:>10} | {:>6} | {:>11} | {} |".format
    lines = [line("case", "unit", "nginx", "silverback", "ratio", "spread", "what")]
    lines.append(line("---", "---:", "---:", "---:", "---:", "---:", "---"))
    for row in rows:
        ratio, spread = "void", f"{row.voided} void"
        if row.ratios:
            ratio = f"{statistics.median(row.ratios):.2f}"
            spread = f"{min(row.ratios):.2f}-{max(row.ratios):.2f}"
        about = row.about + (f" ({row.voided} void)" if row.voided else "")
        lines.append(line(row.case, row.unit, middle(row.nginx), middle(row.silverback), ratio,
                          spread, about))  # fmt: skip
    return "\n".join(lines)


def machine(binary, cores):
    """What the figures were taken on."""
    def first_line(*command):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return ((ended.stdout + ended.stderr).splitlines() or ["unknown"])[0]

    cpu = [line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
           if line.startswith("model name")]  # fmt: skip
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
