"""Windows of load in turn, and what a request in them cost each gateway."""

import contextlib
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys

import probe
import rig
import rows

# Above this a core counts as full; below it the load was the limit and not the gateway.
BUSY_PERCENT = 90
OURS = ("direct", "nginx", "silverback")
FAILURES = rig.Broken, probe.Refused, OSError, subprocess.SubprocessError


class Bench:
    """What all cases share: the binary, a folder, cores, pace and peers."""

    def __init__(self, binary, directory, cores, pace, peers):
        self.binary, self.directory, self.cores = binary, pathlib.Path(directory), cores
        self.pace, self.peers = pace, peers
        # What the simulator took by itself, beside nginx: case → (simulator, nginx), in us.
        self.rig_costs = {}
        # Peers that could not do a case, and why; it goes on without them.
        self.lost = {}

    def rig(self, load):
        return rig.Rig(self.binary, self.directory, self.cores, self.peers, load.sim_flags())

    def names(self, load):
        """nginx, silverback, and the peers if they take part."""
        return ["nginx", "silverback", *(peer.name for peer in self.peers if load.peers)]

    @contextlib.contextmanager
    def excused(self, case, name):
        """What fails within is the end of a case, unless a peer failed: then only for it."""
        try:
            yield
        except FAILURES as error:
            if name in OURS:
                raise
            self.lost[f"{case}, {name}"] = short(error)
            say(f"{case}: {name} is out: {short(error)}")

    def peer_names(self):
        return {peer.name for peer in self.peers}

    def is_lost(self, case, name):
        return f"{case}, {name}" in self.lost

    def script(self, name, requests, many=0):
        """A file for load.lua."""
        path = self.directory / f"{name}.lua"
        lines = ",\n".join(request.lua() for request in requests)
        path.write_text("return {\n" + f"many = {many},\n" * bool(many) + lines + "\n}\n")
        return path

    def load(self, load):
        """The rows of a case: CPU per request, and for some requests per second."""
        with self.rig(load) as processes:
            gateways, scripts, sizes = {}, {}, {}
            for name in ["direct", *self.names(load)]:
                with self.excused(load.name, name):
                    gateway = processes.gateway(name, load).wait()
                    request = gateway.request(load)
                    expects = load.expects if name not in ("direct", "nginx") else ()
                    sizes[name] = len(probe.expect(gateway.port, request, expects))
                    scripts[name] = self.script(f"{load.name}-{name}", [request])
                    gateways[name] = gateway
            turns = Turns(self, load, processes.sim, gateways, scripts, sizes)
            direct = [turns.window("direct")]
            turns.warm()
            turns.run()
            direct.append(turns.window("direct"))
            for window in direct:
                # Failures are cheap: the simulator would look as if it cost nothing.
                if window["void"]:
                    raise probe.Refused(f"the simulator: {described(window)}")
        return self.rows(load, turns, direct)

    def rows(self, load, turns, direct):
        row = turns.row("us/request")
        own = statistics.median(window["cpu_us"] for window in direct)
        self.rig_costs[load.name] = own, row.median("nginx") or 0
        found = [row]
        if load.events:
            about = f"as {load.name}, for each event"
            found.append(rows.scaled(row, f"{load.name}/event", about, "us/event", load.events))
        if load.name in ("plain", "key"):
            found.append(rate(load, turns, direct))
        if own >= self.rig_costs[load.name][1]:
            for one in found:
                one.compared, one.voided = {}, len(turns.windows)
        return found


class Turns:
    """Windows that alternate, the base first and last, so that each other has one on either side.

    So a machine that slows down slows them all.
    """

    def __init__(self, bench, load, sim, gateways, scripts, sizes=None, base=rows.BASE):
        self.bench, self.load, self.sim, self.base = bench, load, sim, base
        self.gateways, self.scripts, self.sizes = gateways, scripts, sizes
        self.names = [base, *(name for name in gateways if name not in (base, "direct"))]
        self.windows = []

    def warm(self):
        for name in self.names:
            self.wrk(name, self.bench.pace.warm_seconds)

    def run(self):
        turns = self.names * self.bench.pace.rounds + [self.base]
        for turn, name in enumerate(turns, 1):
            self.windows.append(self.window(name))
            say(f"{self.load.name} {turn}/{len(turns)}: {described(self.windows[-1])}")

    def wrk(self, name, seconds):
        gateway, script = self.gateways[name], self.scripts[name]
        return wrk(self.bench.cores, gateway.port, script, self.load.connections, seconds)

    def window(self, name):
        process, sim = self.gateways[name].process, self.sim
        before = clocks(process, sim)
        seen = self.wrk(name, self.bench.pace.window_seconds)
        gateway_seconds, ours, busy = (b - a for a, b in zip(before, clocks(process, sim)))
        process.check()
        if self.load.events:
            # Few may end within a window, and all at once: parts of them count as well.
            seen["requests"] = seen["bytes"] / self.sizes[name]
        seconds = seen["seconds"]
        return {
            "gateway": name,
            **seen,
            "void": is_void(seen),
            "cpu_seconds": gateway_seconds,
            "cpu_us": gateway_seconds * 1e6 / max(seen["requests"], 1),
            "busy_percent": 100 * gateway_seconds / seconds,
            # What the rest of the machine did meanwhile, in percent of one core.
            "others_percent": 100 * max(busy - ours, 0) / seconds,
        }

    def row(self, unit, value=lambda window: window["cpu_us"]):
        """Each over the mean of the windows of the base beside it, where none of them is void."""
        rounds = [self.windows[at:] for at in range(0, len(self.windows) - 1, len(self.names))]
        values = {name: [] for name in self.names}
        compared = {name: [] for name in self.names[1:]}
        for windows in rounds:
            beside = windows[0], windows[len(self.names)]
            for window in windows[: len(self.names)]:
                if window["void"]:
                    continue
                values[window["gateway"]].append(value(window))
                if window["gateway"] != self.base and not any(one["void"] for one in beside):
                    floor = statistics.mean(map(value, beside))
                    compared[window["gateway"]].append(value(window) / floor)
        if not self.windows[-1]["void"]:
            values[self.base].append(value(self.windows[-1]))
        void = [window["gateway"] for window in self.windows if window["void"]]
        voided = sum(name not in self.bench.peer_names() for name in void)
        for name in set(void) & self.bench.peer_names():
            self.bench.lost[f"{self.load.name}, {name}"] = f"{void.count(name)} windows are void"
        load = self.load
        args = load.name, load.about, unit, values, compared, self.base
        return rows.Row(*args, voided=voided, windows=self.windows)


def rate(load, turns, direct):
    """Requests per second, and whether it was the gateway that could not do more."""

    def per_second(window):
        return window["requests"] / window["seconds"]

    row = turns.row("requests/s", per_second)
    busy = {}
    for name in turns.names:
        own = [one["busy_percent"] for one in turns.windows if one["gateway"] == name]
        busy[name] = statistics.median(own)
    row.values["direct"] = [per_second(window) for window in direct]
    row.case, row.windows = f"{load.name}/rate", []
    short = [f"{name} at {busy[name]:.0f} %" for name in busy if busy[name] < BUSY_PERCENT]
    row.about = f"requests per second, {load.name}"
    if short:
        row.about += f"; the load was the limit, cores: {', '.join(short)}"
    return row


def wrk(cores, port, script, connections, seconds):
    """One run of wrk; the sums that load.lua prints."""
    command = [rig.tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", rig.HERE / "load.lua", f"http://127.0.0.1:{port}/", "--", script]
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


def is_void(sums):
    """Whether one request failed, or none was answered."""
    return bool(sums["failed"] or sums["socket_errors"] or not sums["requests"])


def clocks(gateway, sim):
    """CPU seconds so far: of the gateway, of all that is ours, of the machine."""
    gateway_seconds = gateway.cpu_seconds()
    ours = gateway_seconds + (sim.cpu_seconds() if sim is not gateway else 0)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        ours += sum(resource.getrusage(who)[:2])
    return gateway_seconds, ours, rig.busy_seconds()


def described(window):
    name = window["gateway"]
    if window["void"]:
        errors = f"{window['failed']} answers of 400 or above"
        errors += f", {window['socket_errors']} socket errors"
        return f"{name} VOID: {window['requests']} requests, {errors}"
    per_second = window["requests"] / window["seconds"]
    seen = f"{name} {window['cpu_us']:.1f} us, {per_second:.0f}/s, p99 {window['p99_ms']:.1f} ms"
    return f"{seen}, others {window['others_percent']:.0f}% of a core"


def short(error):
    """The first line of it, which says enough."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def say(line):
    print(line, file=sys.stderr, flush=True)
