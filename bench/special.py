"""The cases that are no windows of load: waits, memory, many things at once."""

import concurrent.futures
import contextlib
import json
import time

import cases
import measure
import pacer
import probe
import rig
import rows
from measure import say

SETTLE_SECONDS = 0.5
# So many requests a second leave every gateway idle in between, the slowest peer included.
CHATS_PER_SECOND, STREAMS_PER_SECOND = 50, 10
PACED_SECONDS, PACED_ROUNDS = 1, 3
LOADED_CONNECTIONS = 256
PEER_STARTS = 3
COLD_REQUESTS = 1000
TOKEN_DELAY_MS = 1_000
OPEN_SECONDS = 60
CONSUMERS, ROUTES = 100_000, 10_000


def run(bench, name):
    """The rows of a special case."""
    if name in ("streams1k", "streams10k"):
        return streams(bench, next(load for load in cases.SLOW if load.name == name))
    return globals()[name](bench)


def latency(bench):
    at = f"at {CHATS_PER_SECOND} a second"
    _, wholes = paced(bench, "latency", cases.KEY, CHATS_PER_SECOND)
    # Of all rounds together: a round by itself has too few for it.
    all_rounds = {name: [sum(ones, [])] for name, ones in wholes.items() if ones}
    return [
        added("p50", f"added to a chat (key) {at}, median", wholes, 50),
        added("p99", f"added to a chat (key) {at}, 99th percentile", all_rounds, 99),
    ]


def first(bench):
    firsts, _ = paced(bench, "first", cases.FIRST, STREAMS_PER_SECOND)
    about = f"added to the first byte of a stream at {STREAMS_PER_SECOND} a second, median"
    return [added("first", about, firsts, 50)]


def paced(bench, case, load, rate):
    """Milliseconds to the first byte and to the end: gateway → rounds → requests.

    Rounds are short and many, so that those beside each other have the same neighbours.
    """
    rounds = bench.pace.rounds * PACED_ROUNDS
    with bench.rig(load) as processes:
        gateways = {}
        for name in ["direct", *bench.names(load)]:
            with bench.excused(case, name):
                gateways[name] = processes.gateway(name, load).wait()
        firsts, wholes = ({name: [] for name in gateways} for _ in range(2))
        # The first round is to warm up.
        for turn in range(rounds + 1):
            for name, gateway in gateways.items():
                if bench.is_lost(case, name):
                    continue
                with bench.excused(case, name):
                    own = own_rate(bench, load, name) or rate
                    seen = pacer.run(gateway.port, gateway.request(load), own, PACED_SECONDS)
                    firsts[name] += [seen[0]] * (turn > 0)
                    wholes[name] += [seen[1]] * (turn > 0)
                    p50, p99 = (pacer.percentile(seen[1], percent) for percent in (50, 99))
                    took = f"p50 {p50:.3f} ms, p99 {p99:.3f} ms"
                    say(f"{case} {turn}/{rounds}: {name} {took} at {own}/s")
    return firsts, wholes


def own_rate(bench, load, name):
    """The rate that a peer asks for because it cannot take the usual one; 0 for all others."""
    for peer in bench.peers:
        if peer.name == name:
            return peer.streams_per_second if load.events else peer.chats_per_second
    return 0


def added(case, about, times, percent):
    """What each takes longer than the simulator by itself in the same round."""
    at = {name: [pacer.percentile(one, percent) for one in ones] for name, ones in times.items()}
    direct = at.pop("direct")
    values = {name: [a - b for a, b in zip(ones, direct)] for name, ones in at.items()}
    return rows.paired(case, about, "ms", values, differs=True)


def idle(bench):
    """Fresh processes: how soon they answer, and what they hold when nothing goes on.

    Each knows one Route for chats, as nginx does: reading a large file is no part of it.
    """
    load = cases.KEY
    start, memory = ({name: [] for name in bench.names(load)} for _ in range(2))
    with bench.rig(load) as processes:
        for turn in range(1, bench.pace.starts + 1):
            for name in start:
                late = turn > PEER_STARTS and name not in measure.OURS
                if late or bench.is_lost("idle", name):
                    continue
                with bench.excused("idle", name):
                    gateway = processes.gateway(name, load, alone=True).wait()
                    probe.expect(gateway.port, gateway.request(load), ())
                    start[name].append((time.monotonic() - gateway.process.started) * 1e3)
                    time.sleep(SETTLE_SECONDS)
                    memory[name].append(gateway.process.pss_kib() / 1024)
                    gateway.process.stop()
                    seen = f"{start[name][-1]:.1f} ms, {memory[name][-1]:.1f} MiB"
                    say(f"idle {turn}/{bench.pace.starts}: {name} {seen}")
    return [
        rows.paired("start", "start to first answer (key)", "ms", start),
        rows.paired("idle", "memory after one request", "MiB", memory),
    ]


def loaded(bench):
    """Memory while many connections are busy, late in a window."""
    load, seconds = cases.KEY, bench.pace.window_seconds + 1
    memory = {name: [] for name in bench.names(load)}
    with bench.rig(load) as processes, concurrent.futures.ThreadPoolExecutor() as pool:
        for name in memory:
            with bench.excused("loaded", name):
                gateway = processes.gateway(name, load).wait()
                script = bench.script(f"loaded-{name}", [gateway.request(load)])
                args = bench.cores, gateway.port, script, LOADED_CONNECTIONS, seconds
                window = pool.submit(measure.wrk, *args)
                time.sleep(seconds * 0.8)
                seen = gateway.process.pss_kib() / 1024
                sums = window.result()
                gateway.process.stop()
                if measure.is_void(sums):
                    raise probe.Refused(f"{name}: {sums}")
                memory[name].append(seen)
                say(f"loaded: {name} {seen:.1f} MiB")
    about = f"memory under load, {LOADED_CONNECTIONS} connections"
    return [rows.paired("loaded", about, "MiB", memory)]


def streams(bench, load):
    """What open streams add to the memory, well before their end."""
    possible = (rig.allow_open_files(rig.OPEN_FILES) - 500) // 2
    count = min(load.many, possible)
    if count < load.many * 0.9:
        say(f"{load.name}: SKIPPED, a gateway needs {2 * load.many + 500} open files: ulimit -n")
        return []
    kib, rounds = {name: [] for name in bench.names(load)}, bench.pace.streams_rounds
    with bench.rig(load) as processes:
        for turn in range(1, rounds + 1):
            for name in kib:
                if bench.is_lost(load.name, name):
                    continue
                with bench.excused(load.name, name):
                    kib[name].append(stream_kib(processes.gateway(name, load).wait(), load, count))
                    say(f"{load.name} {turn}/{rounds}: {name} {kib[name][-1]:.1f} KiB")
    about = f"memory that {count:,} open streams (key) add, each"
    return [rows.paired(load.name, about, "KiB", kib)]


def stream_kib(gateway, load, count):
    """Memory that each of so many open streams adds to the gateway, which ends with this."""
    request = gateway.request(load)
    with probe.Streams(gateway.port, request, 1) as stream:
        stream.read_until(1, OPEN_SECONDS)
    before = gateway.process.pss_kib()
    with probe.Streams(gateway.port, request, count) as many:
        many.read_until(3, OPEN_SECONDS)
        after = gateway.process.pss_kib()
    gateway.process.stop()
    return (after - before) / count


def consumers(bench):
    config = (rig.HERE / "kong.yaml").read_text()
    more = "- username: c@@@@@\n  keyauth_credentials:\n  - key: key-@@@@@\n"
    about = f"key, {CONSUMERS:,} consumers and all their keys in turn, over one consumer"
    load = cases.Load("consumers", about, "/key")
    request = probe.Request(load.path, load.body(), (("apikey", "key-@@@@@"),))
    return large(bench, load, request, lambda count: config + numbered(more, count), CONSUMERS)


def routes(bench):
    head = '_format_version: "3.0"\nservices:\n- name: many\n'
    head += '  url: ${{ env "DECK_AZURE" }}\n  routes:\n'
    more = "  - name: r@@@@@\n    paths: [/r@@@@@]\n"
    about = f"plain, {ROUTES:,} Routes and all of them in turn, over one Route"
    load = cases.Load("routes", about, "/r@@@@@" + cases.AZURE_PATH)
    request = probe.Request(load.path, load.body())
    return large(bench, load, request, lambda count: head + numbered(more, count), ROUTES)


def numbered(text, count):
    return "".join(text.replace("@@@@@", f"{number:05d}") for number in range(count))


def large(bench, load, request, config, count):
    """silverback with a large configuration over itself with a small one."""
    gateways, scripts, memory, start = {}, {}, {}, {}
    with bench.rig(load) as processes:
        for name, many in (("small", 1), ("silverback", count)):
            path = bench.directory / f"{load.name}-{name}.yaml"
            path.write_text(config(many))
            processes.binary = processes.copy(f"{name}-binary")
            gateways[name] = gateway = processes.silverback(path).wait(OPEN_SECONDS)
            start[name] = [(time.monotonic() - gateway.process.started) * 1e3]
            scripts[name] = bench.script(f"{load.name}-{name}", [request], many)
            path_of_one = request.path.replace("@@@@@", "00000")
            headers = tuple((a, b.replace("@@@@@", "00000")) for a, b in request.headers)
            probe.expect(gateway.port, probe.Request(path_of_one, request.body, headers), ())
        turns = measure.Turns(bench, load, processes.sim, gateways, scripts, base="small")
        turns.warm()
        turns.run()
        for name, gateway in gateways.items():
            memory[name] = [gateway.process.pss_kib() / 1024]
    extra = {"start": (start, "ms", "start to open port"), "memory": (memory, "MiB", "memory")}
    found = [turns.row("us/request")]
    for part, (values, unit, about) in extra.items():
        case = f"{load.name}/{part}"
        found.append(rows.paired(case, f"{about}, so many {load.name}", unit, values, "small"))
    return found


def tokens(bench):
    """Many first requests at once on a Route with an identity: who asks for the token?"""
    load = cases.BY_NAME["identity"]
    calls, took = [], []
    with bench.rig(load) as processes:
        rule = {"kind": "imds", "delay_ms": TOKEN_DELAY_MS}
        sim = processes.azure_port
        control(sim, "/sim/faults", rule)
        for turn in range(1, bench.pace.streams_rounds + 1):
            asked = token_calls(sim)
            gateway = processes.gateway("silverback").wait()
            args = gateway.port, gateway.request(load), COLD_REQUESTS
            with probe.Streams(*args, send=False) as many:
                started = time.monotonic()
                # It may ask as soon as it starts, so that the token may be there earlier.
                if (started - gateway.process.started) * 1e3 >= TOKEN_DELAY_MS:
                    raise probe.Refused("tokens: connecting took longer than a token does")
                many.send()
                many.read(OPEN_SECONDS)
                took.append((time.monotonic() - started) * 1e3)
                if many.refused():
                    raise probe.Refused(f"tokens: {many.refused()} of {COLD_REQUESTS} got no 200")
            calls.append(token_calls(sim) - asked)
            gateway.process.stop()
            seen = f"{calls[-1]} calls for a token, all answered after {took[-1]:.0f} ms"
            say(f"tokens {turn}/{bench.pace.streams_rounds}: {COLD_REQUESTS} requests, {seen}")
    about = f"calls for a token, {COLD_REQUESTS:,} first requests at once"
    slow = f"until all of them are answered; the token takes {TOKEN_DELAY_MS}"
    return [
        rows.paired("tokens", about, "calls", {"silverback": calls}),
        rows.paired("tokens/time", slow, "ms", {"silverback": took}),
    ]


def control(port, path, body=None):
    """A call of the simulator's own; gives what it answers."""
    method = "POST" if body is not None else "GET"
    text = json.dumps(body).encode() if body is not None else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n"
    wire = f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text
    head, _, answer = probe.exchange(port, wire).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 2"):
        raise probe.Refused(f"{path}: {head!r} {answer!r}")
    with contextlib.suppress(ValueError):
        return json.loads(answer)
    return None


def token_calls(port):
    seen = control(port, "/sim/requests")
    return sum(one["path"].startswith("/metadata/identity") for one in seen)


# How often each is in the mix.
MIX = {"plain": 4, "key": 6, "keylua": 2, "native10": 1, "identity": 2, "hello": 1}
MIX.update(prompt16=1, burst=1)


def growth(bench):
    """Memory before and after many requests of all kinds."""
    load, wanted = cases.BY_NAME["burst"], bench.pace.growth_requests
    with bench.rig(load) as processes:
        gateway = processes.gateway("silverback").wait()
        mix = [cases.BY_NAME[name] for name, often in MIX.items() for _ in range(often)]
        script = bench.script("growth", [gateway.request(one) for one in mix])
        seen = []
        for part in (wanted / 10, wanted):
            sent = 0
            while sent < part:
                args = bench.cores, gateway.port, script, load.connections
                sums = measure.wrk(*args, bench.pace.window_seconds)
                if measure.is_void(sums):
                    raise probe.Refused(f"growth: {sums}")
                sent += sums["requests"]
                now = gateway.process.pss_kib() / 1024
                say(f"growth: {now:.1f} MiB after {sent:,} of {part:,.0f}")
            time.sleep(SETTLE_SECONDS)
            seen.append([gateway.process.pss_kib() / 1024])
    about = f"memory after {sent:,} mixed requests, over that after {wanted // 10:,}"
    values = {"before": seen[0], "silverback": seen[1]}
    return [rows.paired("growth", about, "MiB", values, base="before")]
