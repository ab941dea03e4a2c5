"""What the figures were taken on and of; nothing that names the machine."""

import hashlib
import os
import platform
import subprocess
from pathlib import Path

from . import tools
from .tools import ROOT, TOLLGATE

# What makes the binary, the peers and the measuring. Documents and results do not change what is measured.
MEASURED = (
    "gateway", "filters", "policies", "Cargo.toml", "Cargo.lock", ".make", "bench",
    ":(exclude)bench/RESULTS.md", ":(exclude)bench/results", ":(exclude)bench/instructions*", ":(exclude,glob)**/*.md",
)


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def describe() -> dict:
    """Processor, memory, kernel, system, the commit with whether the tree was clean, and the binary."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "processor": next((line.split(":")[1].strip() for line in info if "model name" in line), platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory.split()[1]) / 2**20),
        "kernel": platform.release().split("-")[0],
        "system": release.get("PRETTY_NAME", "").strip('"'),
        "commit": git("rev-parse", "--short=10", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no", "--", *MEASURED)),
        "binary": binary(),
    }


def binary() -> dict:
    """Which gateway runs. `pgo`: `make pgo` built it, as the mark says that it left beside it; `elsewhere`: it is
    not target/release/tollgate, so nobody knows of which commit it is; `old`: sources changed since it was built."""
    path = Path(tools.find("tollgate") or TOLLGATE).resolve()
    if not path.exists():
        return {"sha256": "", "pgo": False, "elsewhere": False, "old": True}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    mark = path.with_name("tollgate.pgo")
    return {
        "sha256": digest[:16],
        "pgo": mark.exists() and mark.read_text().strip() == digest,
        "elsewhere": path != TOLLGATE.resolve(),
        "old": newest_source() > path.stat().st_mtime,
    }


def newest_source() -> float:
    """When the gateway's sources last changed, those of the interpreters in it included."""
    folders = (ROOT / "gateway" / name for name in ("src", "wasmedge/src", "proxy-wasm/src"))
    interpreters = (ROOT / "filters/dist" / f"{name}.wasm" for name in ("lua", "starlark"))
    sources = [path for folder in folders for path in folder.glob("**/*.rs")] + [path for path in interpreters if path.exists()]
    return max(path.stat().st_mtime for path in sources)
