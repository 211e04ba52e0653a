#!/usr/bin/env python3
"""Names the functions that a gateway runs, for build.rs to lay together in the binary.

    bench/layout.py --binary target/{release,budget}/silverback > packaging/layout.txt
    bench/layout.py --profdata llvm-profdata first.profdata all.profdata     as bench/pgo does it

What lies beside a function that runs is in memory with it, so functions that never run should lie
elsewhere, and those that each request runs should lie together: a gateway that wakes up for one finds
its caches cold. With --binary callgrind tells what the requests of LOADS run, which comes first, and
what runs from the start to the end of a gateway that answers one chat (bench/chat.yaml). The compiler
puts a hash behind a name, by which functions of one name for several types differ, and which is another
one for the next compiler and in each build profile: it stands behind the name, so that the list is
exact for the builds it was made from, and serves others by names alone. With --profdata the counts of a build that has learned tell; what the first
profile has comes first.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

import cases
import instructions
import probe
import rig

LOADS = ["plain", "key", "keylua", "burst"]
REQUESTS = 50
CALLGRIND = ["valgrind", "--tool=callgrind", "--demangle=no"]
HASHED = re.compile(r"(.*17h)([0-9a-f]{16})E")
CLONE = re.compile(r"\.llvm\.\d+$")
# Of callgrind: "fn=(7) name", or "cfn=" of what is called, in the object of the last "ob=" or "cob=".
OBJECT = re.compile(r"(c?)ob=\((\d+)\)(?: (.*))?")
FUNCTION = re.compile(r"(c?)fn=\(\d+\) ([A-Za-z_][\w.$]*)")
# Of llvm-profdata: "  file.rs;name:", then among others "    Block counts: [1, 0]".
COUNTED = re.compile(r"  (?:\S.*[;:])?([A-Za-z_][\w.$]+):$")
BLOCKS = "    Block counts: ["


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, nargs="+")
    parser.add_argument("--profdata", help="the program llvm-profdata")
    parser.add_argument("profiles", nargs="*")
    options = parser.parse_args()
    try:
        if options.binary:
            binaries = [binary.resolve() for binary in options.binary]
            often, once = set(), set()
            for binary in binaries:
                often |= with_twins(often_run(binary), binary)
                once |= with_twins(run(binary), binary)
            lines = together(often) + together(once - often)
        else:
            counted = [counts(options.profdata, profile) for profile in options.profiles]
            lines = dict.fromkeys(sum(counted, []))
    except (rig.Broken, probe.Refused, OSError, subprocess.SubprocessError) as error:
        print(f"layout.py: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def together(names):
    """A line for each name, with the hashes of those that have one."""
    hashes = collections.defaultdict(set)
    for name in names:
        found = HASHED.match(name)
        hashes[found[1] if found else CLONE.sub("", name)] |= {found[2]} if found else set()
    return [" ".join([name, *sorted(hashes[name])]) for name in sorted(hashes)]


def run(binary):
    """The functions of the binary that run in the life of a gateway, under callgrind."""
    with tempfile.TemporaryDirectory(prefix="silverback-layout-") as directory:
        directory = pathlib.Path(directory)
        answer_one(binary, directory, [*CALLGRIND, f"--callgrind-out-file={directory / 'out'}"])
        return of_callgrind((directory / "out").read_text(), binary)


def often_run(binary):
    """The functions of the binary that requests run, once it is warm."""
    return set().union(*(answering(binary, cases.BY_NAME[name]) for name in LOADS))


def answering(binary, load):
    with tempfile.TemporaryDirectory(prefix="silverback-layout-") as directory:
        directory = pathlib.Path(directory)
        wrapper = [*CALLGRIND, "--instr-atstart=no", f"--callgrind-out-file={directory / 'out'}"]
        with rig.Rig(binary, directory, rig.Cores(), sim_flags=load.sim_flags()) as processes:
            gateway = processes.silverback(wrapper=wrapper).wait(instructions.START_SECONDS)
            args = gateway.port, gateway.request(load), REQUESTS
            instructions.one_by_one(*args)
            look(gateway, "on")
            instructions.one_by_one(*args)
            look(gateway, "off")
            gateway.process.stop(instructions.START_SECONDS)
        names = of_callgrind((directory / "out").read_text(), binary)
        if not names:
            raise rig.Broken(f"{load.name}: callgrind has seen nothing")
        return names


def look(gateway, word):
    """Lets callgrind look at a gateway from here on, or no more."""
    command = ["callgrind_control", f"--instr={word}", str(gateway.process.popen.pid)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def answer_one(binary, directory, wrapper):
    """A gateway with one Route starts, answers a chat and ends."""
    load = cases.KEY
    with rig.Rig(binary, directory, rig.Cores()) as processes:
        gateway = processes.silverback(rig.HERE / "chat.yaml", wrapper, lua=False)
        gateway.wait(instructions.START_SECONDS)
        probe.expect(gateway.port, gateway.request(load), ())
        gateway.process.stop(instructions.START_SECONDS)


def with_twins(names, binary):
    """The same with other names of their code: equal functions are one, under the name of any."""
    symbols = subprocess.run(["nm", "--defined-only", binary], capture_output=True, text=True)
    symbols.check_returncode()
    at = collections.defaultdict(set)
    for address, *_, name in (line.split() for line in symbols.stdout.splitlines()):
        at[address].add(name)
    return set().union(*(twins for twins in at.values() if twins & names)) | names


def of_callgrind(text, binary):
    objects, caller, callee, names = {}, None, None, set()
    for line in text.splitlines():
        if found := OBJECT.match(line):
            called, number, path = found.groups()
            objects[number] = path or objects[number]
            caller = caller if called else objects[number]
            callee = objects[number] if called else callee
        elif found := FUNCTION.match(line):
            called, name = found.groups()
            if (callee or caller if called else caller) == str(binary):
                names.add(name)
        elif line.startswith("calls="):
            callee = None
    return names


def counts(program, profile):
    """The functions of a profile that ran."""
    command = [program, "show", "--all-functions", "--counts", profile]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names, name = [], None
    for line in shown.splitlines():
        if found := COUNTED.match(line):
            name = found[1]
        elif line.startswith(BLOCKS) and line[len(BLOCKS) :].strip("]0, "):
            names.append(name)
    if not names:
        raise rig.Broken(f"{program} show: no function of {profile} ran, or its words have changed")
    return names


if __name__ == "__main__":
    sys.exit(main())
