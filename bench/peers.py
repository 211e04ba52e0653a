"""Other gateways: what peers/NAME.json says about one, and how it is started."""

import dataclasses
import json
import os
import pathlib
import shutil
import string

import probe
import rig

FOLDER = rig.HERE / "peers"
INSTALLED = pathlib.Path(os.environ.get("BENCH_PEERS", rig.HERE.parent / "target" / "peers"))


@dataclasses.dataclass
class Peer:
    """What a peer.json may say.

    In the command, env, headers and the configuration (with `files` beside it) `$port`, `$upstream`
    (the simulator's port), `$binary`, `$config`, `$dir`, `$free` (a second port) and `$peers` stand
    for what they say.
    """

    name: str
    command: list
    path: str
    config: str = ""
    files: list = dataclasses.field(default_factory=list)
    env: dict = dataclasses.field(default_factory=dict)
    headers: dict = dataclasses.field(default_factory=dict)
    body: dict = dataclasses.field(default_factory=dict)
    start_seconds: int = rig.START_SECONDS
    # For the cases at a fixed rate, where the usual one is more than it can take; 0 is the usual.
    chats_per_second: int = 0
    streams_per_second: int = 0
    folder: pathlib.Path = FOLDER
    binary: str = ""

    @classmethod
    def read(cls, given):
        """A name, a name with a binary, or the path of a file."""
        name, _, binary = given.partition("=")
        path = pathlib.Path(given) if given.endswith(".json") else FOLDER / f"{name}.json"
        try:
            told = json.loads(path.read_text())
            peer = cls(**told, folder=path.resolve().parent, binary="")
        except (OSError, ValueError, TypeError) as error:
            raise rig.Broken(f"peer {given}: {error}") from None
        peer.binary = str(pathlib.Path(binary).resolve()) if binary else peer.name
        return peer

    def start(self, rig_):
        directory = rig_.directory / f"{self.name}-{rig.free_port()}"
        directory.mkdir()
        values = {
            "port": rig.free_port(),
            "free": rig.free_port(),
            "upstream": rig_.azure_port,
            "binary": self.binary,
            "dir": directory,
            "peers": INSTALLED.resolve(),
            "config": directory / pathlib.Path(self.config).name,
        }

        def filled(text):
            try:
                return string.Template(text).substitute(values)
            except (KeyError, ValueError) as error:
                raise rig.Broken(f"peer {self.name}: {error} in: {text[:80]}") from None

        for name in filter(None, [self.config, *self.files]):
            written = directory / pathlib.Path(name).name
            written.write_text(filled((self.folder / name).read_text()))
        command = [filled(word) for word in self.command]
        if not shutil.which(command[0], path=rig.PATH):
            remedy = f"bench/setup-peers, or {self.name}=PATH"
            raise rig.Broken(f"{self.name}: no {command[0]}: {remedy}")
        env = {"HOME": str(directory), **{key: filled(text) for key, text in self.env.items()}}
        process = rig_.start(self.name, command, rig_.cores.gateway, env)
        headers = tuple((key, filled(text)) for key, text in self.headers.items())
        gateway = rig.Gateway(
            self.name,
            process,
            values["port"],
            lambda load: probe.Request(self.path, load.body(**self.body), headers),
        )
        return gateway.wait(self.start_seconds)
