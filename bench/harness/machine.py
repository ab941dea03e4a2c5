"""What the figures were taken on; nothing that names the machine."""

import os
import platform
import subprocess
from pathlib import Path

from .tools import ROOT, TOLLGATE


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def describe() -> dict:
    """Processor, memory, kernel, system, and the commit with whether the tree was clean."""
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
        # Documents and the harness itself do not change what is measured.
        "changed": bool(git("status", "--porcelain", "--untracked-files=no", "--", "gateway", "filters", "Cargo.toml", "Cargo.lock", "policies")),
        "binary_is_older": newest_source() > (TOLLGATE.stat().st_mtime if TOLLGATE.exists() else 0),
    }


def newest_source() -> float:
    """When the gateway's sources last changed."""
    folders = (ROOT / "gateway" / name for name in ("src", "wasmedge/src", "proxy-wasm/src"))
    return max(path.stat().st_mtime for folder in folders for path in folder.glob("**/*.rs"))
