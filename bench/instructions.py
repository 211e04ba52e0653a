#!/usr/bin/env python3
"""Counts the instructions that silverback executes for one request, and holds them to a budget.

    bench/instructions.py --binary target/budget/silverback            what it takes
    bench/instructions.py --binary target/budget/silverback --check    against bench/budget.json
    bench/instructions.py --binary target/budget/silverback --record   new budgets

Times depend on the machine and on who else works on it; instructions hardly do. callgrind counts
the user code of the worker, while a client sends one request after the other and the simulator
answers. Each case runs twice, with few requests and with many: the difference is without start,
warm-up and stop. Other threads are left out: they load and wait, by the clock. Budgets belong to
one build profile (`budget` in Cargo.toml) and one kind of processor (code is chosen at run time by
what it can do).

Exit status: 0, 1 when something could not be counted, 3 when --check finds a case above its budget.
"""

import argparse
import dataclasses
import json
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

import cases
import pacer
import probe
import rig

BUDGET = rig.HERE / "budget.json"
ABOVE_PERCENT = 5
OVER_BUDGET = 3
START_SECONDS = 120
# Of directories of a run, which is why their names differ in length: see `counted`.
PREFIXES = ["silverback-bench-" + "x" * more for more in (0, 16, 40)]
TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Case:
    """A load, and how many requests the short run and the long one send."""

    load: cases.Load
    few: int = 400
    many: int = 1600


COUNTED = {
    "plain": Case(cases.PLAIN),
    "key": Case(cases.KEY),
    "keylua": Case(cases.BY_NAME["keylua"]),
    "burst": Case(cases.BY_NAME["burst"], few=100, many=400),
}


def main():
    options = arguments()
    try:
        valgrind()
        probe.READ_SECONDS = START_SECONDS  # under valgrind all takes long
        if not options.binary.is_file():
            raise rig.Broken(f"{options.binary} does not exist: cargo build --profile budget")
        seen = {}
        for name in options.only:
            print(f"counting {name} ...", file=sys.stderr)
            seen[name] = counted(options.binary.resolve(), name)
    except (rig.Broken, probe.Refused, OSError, subprocess.SubprocessError) as error:
        print(f"instructions.py: {error}", file=sys.stderr)
        return 1
    if options.record:
        record(seen)
    return told(seen, budgets(), options.check)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    binary = rig.TARGET / "budget" / "silverback"
    parser.add_argument("--binary", type=pathlib.Path, default=binary, help="%(default)s")
    names = list(COUNTED)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CASE")
    which = parser.add_mutually_exclusive_group()
    over = f"fail when a case is more than {ABOVE_PERCENT} %% above its budget"
    which.add_argument("--check", action="store_true", help=over)
    which.add_argument("--record", action="store_true", help=f"write {BUDGET.name}")
    return parser.parse_args()


def valgrind():
    found = shutil.which("valgrind", path=rig.PATH)
    if not found:
        raise rig.Broken("valgrind not found: apt-get install valgrind (Debian)")
    return found


def counted(binary, name):
    """Instructions for one request of a case, when the allocator is in luck.

    Where a request holds the only block of its size, the allocator gives the page back and takes
    another one each time, for 3,000 instructions. Whether something that was loaded lies in that
    page depends on how long paths are, so several are tried.
    """
    case = COUNTED[name]
    return min(in_directory(binary, case, prefix) for prefix in PREFIXES)


def in_directory(binary, case, prefix):
    requests = (case.few, case.many)
    few, many = (by_thread(binary, case.load, count, prefix) for count in requests)
    # The worker is the thread that works more when there are more requests.
    return max(many[thread] - few.get(thread, 0) for thread in many) / (case.many - case.few)


def by_thread(binary, load, requests, prefix):
    """Instructions of a whole run of the gateway with so many requests: thread → count."""
    with tempfile.TemporaryDirectory(prefix=prefix) as directory:
        directory = pathlib.Path(directory)
        wrapper = [valgrind(), "--tool=callgrind", "--separate-threads=yes"]
        wrapper.append(f"--callgrind-out-file={directory / 'callgrind.out'}")
        with rig.Rig(binary, directory, rig.Cores(), sim_flags=load.sim_flags()) as processes:
            gateway = processes.silverback(wrapper=wrapper).wait(START_SECONDS)
            request = gateway.request(load)
            # One of them by itself says more when it is wrong.
            probe.expect(gateway.port, request, load.expects)
            one_by_one(gateway.port, request, requests)
            gateway.process.stop(START_SECONDS)
            counts = {}
            for out in directory.glob("callgrind.out-*"):
                found = TOTALS.search(out.read_text())
                counts[out.suffix] = int(found[1]) if found else 0
            if not any(counts.values()):
                raise rig.Broken(f"valgrind counted nothing:\n{gateway.process.tail()}")
            return counts


def one_by_one(port, request, count):
    """The next when the answer to the last is complete, all on one connection."""
    connection = pacer.Connection(port)
    with connection.stream:
        wire = request.wire(port, close=False)
        for _ in range(count):
            connection.send(wire, 0.0)
            while not connection.take(1.0):
                pass


def budgets():
    return json.loads(BUDGET.read_text())["instructions"] if BUDGET.exists() else {}


def record(seen):
    about = "instructions a request, by bench/instructions.py --record; profile budget"
    known = {"about": f"{about}; {platform.machine()}"}
    known["instructions"] = {**budgets(), **{name: round(one) for name, one in seen.items()}}
    BUDGET.write_text(json.dumps(known, indent=2) + "\n")


def told(seen, known, check):
    """Prints a line a case; gives the exit status."""
    over = False
    for name, one in seen.items():
        budget = known.get(name)
        if budget is None:
            print(f"{name:<8} {one:>10,.0f}  no budget")
            over |= check
            continue
        percent = 100 * (one / budget - 1)
        word = "OVER BUDGET" if percent > ABOVE_PERCENT else "within budget"
        if percent < -ABOVE_PERCENT:
            word = "well below: --record, so that it stays"
        over |= check and percent > ABOVE_PERCENT
        print(f"{name:<8} {one:>10,.0f}  budget {budget:>10,}  {percent:+.1f} %  {word}")
    return OVER_BUDGET if over else 0


if __name__ == "__main__":
    sys.exit(main())
