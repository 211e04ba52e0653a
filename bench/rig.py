"""The processes of a benchmark: the simulator, nginx, silverback and its peers, one worker each.

They run with an environment of their own, on loopback, on ports that were free a moment ago, and
end with their `with` block. Times and memory are the kernel's: /proc/PID/stat counts what a process
and all its threads used, so the parts of silverback that serve no traffic are in the figures.
"""

import contextlib
import dataclasses
import os
import pathlib
import resource
import shutil
import socket
import string
import subprocess
import time

import cases
import probe

HERE = pathlib.Path(__file__).resolve().parent
# Where cargo builds.
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS = 20
STOP_SECONDS = 5
# nginx sets memory aside for every one; the many are for the cases of open streams.
OPEN_FILES = 24576
NGINX_CONNECTIONS, NGINX_CONNECTIONS_MANY = 1024, OPEN_FILES
LUA_PLUGINS = [f"five-{n}" for n in range(1, 11)]
PACKAGES = {"nginx": "nginx-light", "wrk": "wrk"}
# Debian has nginx in a folder that is not on every user's PATH.
PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


class Broken(Exception):
    """The benchmark cannot run, or measured something else than it should."""


def tool(name):
    """The path of a program, or a line that says which package brings it."""
    found = shutil.which(name, path=PATH)
    if not found:
        missing = [tool for tool in PACKAGES if not shutil.which(tool, path=PATH)]
        packages = " ".join(PACKAGES[tool] for tool in missing)
        raise Broken(f"{' and '.join(missing)} not found: apt-get install {packages} (Debian)")
    return found


class Cores:
    """Who runs where: the gateway alone on a core, the others beside it as far as cores allow."""

    def __init__(self):
        cores = sorted(os.sched_getaffinity(0))
        self.gateway = {cores[-1]}
        self.load = {cores[0]}
        self.upstream = {cores[1]} if len(cores) > 2 else self.load
        self.pinned = len(cores) > 1

    def describe(self):
        if not self.pinned:
            return "one core for everything"
        return f"gateway on core {self.gateway}, upstream {self.upstream}, wrk {self.load}"


class Process:
    """A started program and its children."""

    def __init__(self, name, command, cores, log, env=None):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self.started = time.monotonic()
            self.popen = subprocess.Popen(
                command,
                env={"PATH": PATH, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )

    def pids(self):
        """This process and all below it."""
        parents = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                parents[int(entry)] = int(stat(entry)[1])
        found = [self.popen.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu_seconds(self):
        """User and system time so far, of living and reaped processes of the tree."""
        return sum(sum(map(int, stat(pid)[11:15])) for pid in self.pids()) / TICKS_PER_SECOND

    def pss_kib(self):
        """Memory in KiB: its own pages, and its share of those that it shares with others."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total

    def check(self):
        if self.popen.poll() is not None:
            raise Broken(f"{self.name} ended with status {self.popen.returncode}:\n{self.tail()}")

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self, seconds=STOP_SECONDS):
        self.popen.terminate()
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in reversed(self.pids()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self.popen.wait(STOP_SECONDS)


@dataclasses.dataclass
class Gateway:
    """One that is up, and how the load of a case is put to it."""

    name: str
    process: Process
    port: int
    request: object  # a load's probe.Request

    def wait(self, seconds=START_SECONDS):
        probe.wait_until_open(self.port, seconds, self.process.check)
        return self


class Rig:
    """A simulator, with gateways in front of it."""

    def __init__(self, binary, directory, cores, peers=(), sim_flags=()):
        self.binary, self.directory, self.cores = binary, directory, cores
        self.peers = {peer.name: peer for peer in peers}
        self.processes = contextlib.ExitStack()
        self.azure_port = free_port()
        self.sim_flags = sim_flags

    def __enter__(self):
        command = [self.copy("azure-sim"), "azure-sim", "--lean", *self.sim_flags]
        command += ["--listen", f"127.0.0.1:{self.azure_port}"]
        with self.processes:
            # Of a build that learns: nothing is to be learned from the simulator.
            silent = {"LLVM_PROFILE_FILE": "/dev/null"}
            sim = self.start("azure-sim", command, self.cores.upstream, silent)
            probe.wait_until_open(self.azure_port, START_SECONDS, sim.check)
            self.processes = self.processes.pop_all()
        self.sim = sim
        return self

    def __exit__(self, *_):
        self.processes.close()

    def copy(self, name):
        """The binary as a file of its own: processes of one share its pages, each counting half."""
        copy = self.directory / name
        if not copy.exists():
            shutil.copy2(self.binary, copy)
        return copy

    def start(self, name, command, cores, env=None):
        process = Process(name, command, cores, self.directory / f"{name}.log", env)
        self.processes.callback(process.stop)
        return process

    def gateway(self, name, load=None, alone=False):
        """Starts one by its name; `direct` is the simulator itself. `alone` knows one Route."""
        if name == "direct":
            return Gateway(name, self.sim, self.azure_port, cases.Load.at_azure)
        if name == "nginx":
            return self.nginx(streams=bool(load and load.events), many=bool(load and load.many))
        if name == "silverback":
            return self.silverback(HERE / "chat.yaml", lua=False) if alone else self.silverback()
        return self.peers[name].start(self)

    def nginx(self, streams=False, many=False):
        """It holds streams back unless it is told not to buffer."""
        port = free_port()
        conf = self.directory / f"nginx-{port}.conf"
        template = string.Template((HERE / "nginx.conf").read_text())
        conf.write_text(
            template.substitute(
                dir=self.directory,
                port=port,
                upstream=self.azure_port,
                connections=NGINX_CONNECTIONS_MANY if many else NGINX_CONNECTIONS,
                buffering="off" if streams else "on",
                user="user root;" if os.getuid() == 0 else "",
            )
        )
        command = [tool("nginx"), "-c", conf, "-p", self.directory, "-e", "stderr"]
        process = self.start("nginx", command, self.cores.gateway)
        return Gateway("nginx", process, port, cases.Load.at_azure)

    def lua_plugins(self):
        """Where the plugin of bench/lua is, under ten names: a Route may have each only once."""
        path = self.directory / "lua"
        for name in LUA_PLUGINS:
            plugin = path / "kong" / "plugins" / name
            plugin.parent.mkdir(parents=True, exist_ok=True)
            if not plugin.exists():
                shutil.copytree(HERE / "lua", plugin)
        return path

    def silverback(self, config=HERE / "kong.yaml", wrapper=(), lua=True):
        """One worker, access log off as in nginx. A wrapper is a command such as valgrind."""
        port = free_port()
        azure = f"http://127.0.0.1:{self.azure_port}"
        env = {
            "DECK_AZURE": azure,
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": azure,
            "KONG_PROXY_ACCESS_LOG": "off",
        }
        if lua:
            env["KONG_PLUGINS"] = ",".join(["bundled", *LUA_PLUGINS])
            env["KONG_LUA_PACKAGE_PATH"] = f"{self.lua_plugins()}/?.lua"
        command = [*wrapper, self.binary, "run", "--conf", "/dev/null", "--workers", "1"]
        # As nginx.conf: a thousand may connect at once, and who is not queued asks a second later.
        command += ["--proxy-listen", f"127.0.0.1:{port} backlog=4096", "--status-listen", "off"]
        command += ["--log-level", "warn", "--drain-secs", "1", config]
        process = self.start("silverback", command, self.cores.gateway, env)
        return Gateway("silverback", process, port, cases.Load.at_silverback)


def stat(pid):
    """The fields of /proc/PID/stat after the name, which may hold spaces: 0 is the state."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def busy_seconds():
    """What all processes of the machine used so far, over all cores, and what the host took."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = list(map(int, file.readline().split()[1:9]))
    idle_and_wait = ticks[3:5]
    return (sum(ticks) - sum(idle_and_wait)) / TICKS_PER_SECOND


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def allow_open_files(wanted):
    """Raises the limit for this process and those it starts; gives what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        return limit
    return soft if soft != resource.RLIM_INFINITY else wanted
