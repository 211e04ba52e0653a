#!/usr/bin/env python3
"""Names the functions that a gateway runs, for build.rs to lay together in the binary.

    bench/layout.py --binary target/{release,budget}/silverback > packaging/layout.txt
    bench/layout.py --profdata llvm-profdata first.profdata all.profdata     as bench/pgo does it

What lies beside a function that runs is in memory with it, so functions that never run should lie
elsewhere. With --binary callgrind tells what runs from the start to the end of a gateway that answers
one chat (bench/chat.yaml). The compiler puts a hash behind a name, by which functions of one name
for several types differ, and which is another one for the next compiler and in each build profile:
it stands behind the name, so that the list is exact for the builds it was made from, and serves
others by names alone. With --profdata the counts of a build that has learned tell; what the first
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
            lines = together(set().union(*(with_twins(run(one), one) for one in binaries)))
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
    """The functions of the binary that run, under callgrind."""
    with tempfile.TemporaryDirectory(prefix="silverback-layout-") as directory:
        directory = pathlib.Path(directory)
        out = directory / "callgrind.out"
        wrapper = ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={out}"]
        answer_one(binary, directory, wrapper)
        return of_callgrind(out.read_text(), binary)


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
    return names


if __name__ == "__main__":
    sys.exit(main())
