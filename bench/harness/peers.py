"""A proxy under test: how it is configured, started, held still, checked and stopped."""

import hashlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import cpu, tools
from .tools import BENCH, ROOT

BODY = "x" * 1024
SECRET = "internal-use-only"
# Descriptors that a process may have: what the peers' configurations say, whatever the shell's soft limit.
FILES = cpu.raise_files()
# How many loopback addresses the upstream listens on: 127.0.0.1 and those that follow.
UPSTREAM_ADDRESSES = 16


@dataclass(frozen=True)
class Layout:
    """Who runs where. With `pinned` the proxy has a core to itself, load and upstream share another; with
    `shared` all of them may use all cores, and the proxy has a worker for each."""

    name: str
    proxy: tuple[int, ...]
    load: tuple[int, ...]

    @property
    def workers(self) -> int:
        return len(self.proxy)


def layouts() -> dict[str, Layout]:
    cores = sorted(os.sched_getaffinity(0))
    return {
        "pinned": Layout("pinned", (cores[0],), tuple(cores[1:]) or (cores[0],)),
        "shared": Layout("shared", tuple(cores), tuple(cores)),
    }


def free_address() -> str:
    """An address on the loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@dataclass
class Peer:
    """One proxy with one configuration."""

    name: str  # what a report calls it, unique in its scenario
    title: str
    program: str  # for `tools.find`
    template: str | None  # configuration under bench/, with @PLACEHOLDERS@, or None
    command: list[str]  # arguments; @CONFIG@ and the like are filled in
    inserts: dict[str, str] = field(default_factory=dict)  # what goes into the template; may hold placeholders
    content: Callable[[dict[str, str]], str] | None = None  # the configuration, if it is not a template's
    beside: dict[str, str] = field(default_factory=dict)  # further files: suffix of the name, content
    environment: dict[str, str] = field(default_factory=dict)
    expects: Callable[["Peer"], None] | None = None  # raises AssertionError if it does not do its work
    yardstick: str | None = None  # it is this measure for its group: nginx, hyper, nginx-lua
    group: str = ""  # ratios are taken within a group
    compiles: bool = False  # it has code to compile before it is at its best
    needs_lua_module: bool = False
    needs: Path | None = None  # a file that must have been built
    process: subprocess.Popen | None = None
    address: str = ""
    admin: str = ""
    config: Path | None = None
    values: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)

    def missing(self) -> str | None:
        """Why this machine cannot have the peer and how to get it, or None."""
        if tools.find(self.program) is None:
            return f"no {self.program}: {tools.how(self.program)}"
        if self.needs_lua_module and not tools.has_lua_module():
            return "nginx has no Lua module: apt-get install libnginx-mod-http-lua"
        if self.needs and not self.needs.exists():
            return f"no {self.needs.relative_to(ROOT)}: make filters"
        return None

    def prepare(self, folder: Path, upstream: str, layout: Layout) -> None:
        """Chooses addresses and writes the configuration."""
        self.address, self.admin = free_address(), free_address()
        suffix = Path(self.template).suffix if self.template else ".yaml"
        self.config = folder / (self.name + suffix)
        self.values = {
            **{name: "" for name in PLACES},
            "CONNECTIONS": "4096",
            **self.inserts,
            "WORKERS": str(layout.workers),
            "FILES": str(FILES),
            "HALF_FILES": str(FILES // 2 - 100),
            "LISTEN": self.address,
            "LISTEN_PORT": self.address.rpartition(":")[2],
            "ADMIN": self.admin,
            "UPSTREAM": upstream,
            "UPSTREAM_PORT": upstream.rpartition(":")[2],
            "NGINX_MODULES": tools.MODULES,
            "NAME": self.name,
            "DIR": str(folder),
            "PEERS": str(BENCH / "peers"),
            "ROOT": str(ROOT),
            "DIST": str(ROOT / "filters/dist"),
            "BODY": BODY,
            "CONFIG": str(self.config),
        }
        for ending, text in self.beside.items():
            (folder / (self.name + ending)).write_text(fill(text, self.values))
        self.write()
        self.arguments = [fill(part, self.values) for part in self.command]

    def write(self) -> None:
        """Writes the configuration, in one step: a peer may be watching it."""
        if self.content:
            text = self.content(self.values)
        elif self.template:
            text = fill((BENCH / self.template).read_text(), self.values)
        else:
            return
        new = self.config.with_suffix(".new")
        new.write_text(text)
        new.rename(self.config)

    def configuration(self) -> dict:
        """What a report says of it: the text, or of a long one the digest and how it begins."""
        if not self.config or not self.config.exists():
            return {"arguments": self.arguments}
        text = self.config.read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return {"text": text if len(text) <= 8192 else text[:2048] + "…", "bytes": len(text), "sha256": digest}

    def start(self, cores: tuple[int, ...], folder: Path, limit: float = 120.0) -> float:
        """Starts the peer on some cores and waits for its first answer: the seconds that took."""
        log = (folder / f"{self.name}.out").open("ab")
        begin = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), tools.find(self.program), *self.arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True,
            env={
                **os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
                **{name: fill(value, self.values) for name, value in self.environment.items()},
            },
        )
        log.close()
        while time.monotonic() - begin < limit:
            if self.process.poll() is not None:
                break
            try:
                self.get("/start", {})
                return time.monotonic() - begin
            except OSError:
                time.sleep(0.0005)
        self.stop()
        said = (folder / f"{self.name}.out").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.name} did not answer; it said:\n{said}")

    def signal_all(self, which: int) -> None:
        """Signals the peer's own process group: it was started as the leader of one."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, which)

    def pause(self) -> None:
        """Holds it still, so that it takes no time from the one that is measured."""
        self.signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal_all(signal.SIGCONT)

    def stop(self) -> None:
        """Asks the peer to end, and ends it if it does not."""
        if self.process is None:
            return
        self.resume()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self.signal_all(signal.SIGKILL)
            self.process.wait()
        self.process = None

    def get(self, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own."""
        return get(self.address, target, headers)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def settle(self) -> None:
        """Waits until nothing is compiled or warmed up any more."""
        if self.compiles:
            cpu.wait_until_idle(self.pid)


def get(address: str, target: str, headers: dict[str, str], timeout: float = 10) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own: status, headers in lower case, body."""
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    try:
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


PLACES = ("MODULES", "HTTP", "POLICY", "LOCATIONS", "GLOBAL", "PROXY", "ROUTES", "ROUTE_HEADERS", "HOSTS", "HTTP_FILTERS")


def fill(text: str, values: dict[str, str]) -> str:
    """Puts values in the place of @NAME@; twice, because what is put in may hold placeholders too."""
    for _ in range(2):
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
    return text


def upstream(folder: Path) -> Peer:
    """The server behind every peer, and the files that it serves."""
    files = folder / "files"
    files.mkdir(exist_ok=True)
    for name, size in (("64k", 64 << 10), ("1m", 1 << 20)):
        (files / name).write_bytes(b"y" * size)
    line = "An ordinary line of text with nothing to hide in it, as most of them are.\n"
    (files / "text").write_text(line * 40 + f"One that is {SECRET}.\n" + line * 40)
    more = "\n        ".join(f"listen 127.0.0.{number}:@LISTEN_PORT@ backlog=4096;" for number in range(2, UPSTREAM_ADDRESSES + 1))
    return Peer("upstream", "upstream", "nginx", "peers/upstream.conf", ["-c", "@CONFIG@"], inserts={"POLICY": more})
