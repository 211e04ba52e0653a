#!/usr/bin/env python3
"""Sends a gateway that was built to learn (`-C profile-generate`) the loads of the benchmark.

    bench/train.py --binary target/pgo/learning/release/silverback --first target/pgo/learned/first

bench/pgo calls it between its two builds. What is often done is learned from requests, and from a
start and an end for each load that those are seldom. The profile of a gateway that answers one chat
goes to a folder of its own: what is in it lies together.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import cases
import instructions
import layout
import probe
import rig

REQUESTS = 2_000
STREAMS = 300
LOADS = ["plain", "key", "keylua", "native10", "identity", "prompt16", "burst"]
START_SECONDS = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--first", type=pathlib.Path, required=True)
    options = parser.parse_args()
    binary, first = options.binary.resolve(), options.first.resolve()
    try:
        print("learning one chat ...", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="silverback-train-") as directory:
            to = ["env", f"LLVM_PROFILE_FILE={first}/%p.profraw"]
            layout.answer_one(binary, pathlib.Path(directory), to)
        for name in LOADS:
            print(f"learning {name} ...", file=sys.stderr)
            learn(binary, cases.BY_NAME[name])
    except (rig.Broken, probe.Refused, OSError, subprocess.SubprocessError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    return 0


def learn(binary, load):
    """Its profile is written when the gateway has ended by itself."""
    with tempfile.TemporaryDirectory(prefix="silverback-train-") as directory:
        directory = pathlib.Path(directory)
        with rig.Rig(binary, directory, rig.Cores(), sim_flags=load.sim_flags()) as processes:
            gateway = processes.silverback().wait(START_SECONDS)
            request = gateway.request(load)
            probe.expect(gateway.port, request, load.expects)
            requests = STREAMS if load.events else REQUESTS
            instructions.one_by_one(gateway.port, request, requests)
            gateway.process.stop(START_SECONDS)
            if status := gateway.process.popen.returncode:
                raise rig.Broken(f"{load.name}: the gateway ended with {status}, without a profile")


if __name__ == "__main__":
    sys.exit(main())
