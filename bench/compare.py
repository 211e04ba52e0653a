#!/usr/bin/env python3
"""What a request through silverback costs, as a ratio to nginx `proxy_pass` in the same run.

    cargo build --release && bench/compare.py          all cases, about twenty-five minutes
    bench/compare.py --quick --only plain key          a first look, some seconds a case
    bench/setup-peers && bench/compare.py --peers litellm portkey

One worker each, the simulator's lean mode as Azure, load from wrk, all on loopback. What the cases
are, how to read the table and what it does not say: docs/performance.md.

Exit status: 0, 1 when a window is void or something could not be measured, 3 when --check finds
that a goal that must be met is missed.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile

import cases
import goals
import measure
import peers
import picture
import probe
import report
import rig
import rows
import special

ROOT = rig.HERE.parent
PAGE, PICTURE = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.svg"
MUST_MISSED = 3


def main():
    options = arguments()
    # `with` blocks end the processes, on a stop signal as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        result = stored(options.read) if options.read else measured(options)
        return told(options, result)
    except (rig.Broken, probe.Refused, OSError, subprocess.SubprocessError) as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds a case: a first look")
    kinds = {"nargs": "+", "choices": cases.NAMES, "metavar": "CASE"}
    parser.add_argument("--only", **kinds, default=cases.NAMES, help=", ".join(cases.NAMES))
    parser.add_argument("--skip", **kinds, default=[], help="leave these out")
    own = "NAME, NAME=BINARY or the path of a peer.json (docs/performance.md)"
    parser.add_argument("--peers", nargs="+", default=[], metavar="PEER", help=own)
    parser.add_argument("--growth", type=int, metavar="N", help="requests of the case growth")
    parser.add_argument("--check", action="store_true", help="compare with the goals")
    write = f"put the table into {PAGE.relative_to(ROOT)} and draw the picture beside it"
    parser.add_argument("--docs", action="store_true", help=write)
    binary = rig.TARGET / "release" / "silverback"
    parser.add_argument("--binary", type=pathlib.Path, default=binary, help="%(default)s")
    raw = "where the raw values go (%(default)s)"
    parser.add_argument("--out", type=pathlib.Path, default=rig.TARGET / "bench.json", help=raw)
    again = "measure nothing: tell about the raw values of an earlier run"
    parser.add_argument("--read", type=pathlib.Path, metavar="JSON", help=again)
    return parser.parse_args()


def measured(options):
    """Runs the cases; what came of them, and on what."""
    for name in rig.PACKAGES:
        rig.tool(name)
    if not options.binary.is_file():
        raise rig.Broken(f"{options.binary} does not exist: cargo build --release")
    rig.allow_open_files(rig.OPEN_FILES)
    pace, cores = (cases.QUICK if options.quick else cases.FULL), rig.Cores()
    # The pacer of the cases of latency runs here: never on the gateway's core.
    os.sched_setaffinity(0, cores.load)
    if options.growth:
        pace = dataclasses.replace(pace, growth_requests=options.growth)
    others = [peers.Peer.read(given) for given in options.peers]
    result = {"machine": machine(options.binary, cores), "pace": pace, "rig": {}, "rows": []}
    result["failed"], result["lost"] = {}, {}
    result["machine"]["windows"] = f"{pace.rounds} rounds of {pace.window_seconds} s"
    print("\n".join(report.lines_of(result["machine"])), file=sys.stderr)
    wanted = [name for name in cases.NAMES if name in options.only and name not in options.skip]
    with tempfile.TemporaryDirectory(prefix="silverback-bench-") as directory:
        bench = measure.Bench(options.binary.resolve(), directory, cores, pace, others)
        for name in wanted:
            try:
                load = cases.BY_NAME.get(name)
                result["rows"] += bench.load(load) if load else special.run(bench, name)
            except measure.FAILURES as error:
                # The others are still worth having.
                measure.say(f"{name} FAILED: {error}")
                result["failed"][name] = str(error)
        result["rig"], result["lost"] = bench.rig_costs, bench.lost
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1, default=dataclasses.asdict) + "\n")
    measure.say(f"raw values: {options.out}")
    return result


def stored(path):
    """An earlier run."""
    result = json.loads(path.read_text())
    result["rows"] = [rows.Row(**row) for row in result["rows"]]
    return result


def told(options, result):
    """Prints what the options ask for; gives the exit status."""
    print(report.whole(result))
    verdicts = goals.verdicts(result["rows"])
    if options.check:
        print("\n" + "\n".join(goals.lines(verdicts)))
    if options.docs:
        report.into(PAGE, report.whole(result) + "\n\n" + report.goals_table(verdicts))
        PICTURE.write_text(picture.draw(result["rows"]))
    if result["failed"] or any(row.voided for row in result["rows"]):
        return 1
    if not options.check:
        return 0
    outcomes = [verdict.outcome for verdict in verdicts]
    if goals.MISSED in outcomes:
        return MUST_MISSED
    is_whole = options.only == cases.NAMES and not options.skip
    return 1 if is_whole and goals.UNKNOWN in outcomes else 0


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


if __name__ == "__main__":
    sys.exit(main())
