"""Rounds into figures: medians with their quartiles, and ratios within the same round."""

import json
import os
import platform
import subprocess
from pathlib import Path
from statistics import median, quantiles

from .load import Round
from .peers import Peer, ROOT

YARDSTICKS = ("nginx", "hyper", "nginx-lua")


def spread(values: list[float]) -> dict | None:
    """Median and quartiles."""
    if not values:
        return None
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": median(values), "low": low, "high": high}


def ratios(rounds: list[Round], peer: str, yardstick: str) -> dict | None:
    """CPU per request against a yardstick, round by round, where both rounds were quiet."""
    quiet = {(r.peer, r.number): r.cpu_us_per_request for r in rounds if not r.noisy and r.requests}
    numbers = sorted(number for name, number in quiet if name == peer and (yardstick, number) in quiet)
    return spread([quiet[peer, number] / quiet[yardstick, number] for number in numbers])


def summary(peer: Peer, rounds: list[Round], extra: dict) -> dict:
    """All that is said of one peer."""
    mine = [r for r in rounds if r.peer == peer.name]
    quiet = [r for r in mine if not r.noisy]
    return {
        "peer": peer.name,
        "title": peer.title,
        "rounds": len(quiet),
        "rounds_dropped_as_noisy": len(mine) - len(quiet),
        "requests": sum(r.requests for r in mine),
        "errors": sum(r.errors for r in mine),
        "cpu_us_per_request": spread([r.cpu_us_per_request for r in quiet]),
        "requests_per_second": spread([r.requests_per_second for r in quiet]),
        "p99_ms": spread([r.p99_ms for r in quiet]),
        **{f"ratio_to_{yardstick}": ratios(rounds, peer.name, yardstick) for yardstick in YARDSTICKS},
        **extra,
    }


def machine() -> dict:
    """What the figures were taken on; nothing that names the machine."""
    cpu = next((l.split(":")[1].strip() for l in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in l), "")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "processor": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "commit": commit.stdout.strip(),
    }


def text(value: dict | None, digits: int) -> str:
    """A median with its spread."""
    if value is None:
        return "-"
    return f"{value['median']:.{digits}f} ({value['low']:.{digits}f}-{value['high']:.{digits}f})"


def markdown(result: dict) -> str:
    """The table that people read."""
    run, box = result["run"], result["machine"]
    lines = [
        f"{box['processor']}, {box['cores']} cores, kernel {box['kernel']}, commit {box['commit']}. "
        f"{run['connections']} connections, interleaved rounds of {run['seconds']} s each, the proxy "
        f"on one core, load and upstream on another. Median (quartiles) of the quiet rounds.",
        "",
        "| peer | CPU µs a request | to nginx | to bare hyper | to nginx + Lua | requests/s | p99 ms | RSS MiB | private MiB | start ms | rounds (dropped) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for peer in result["peers"]:
        loaded = peer["memory_loaded"]
        lines.append(
            f"| {peer['title']} | {text(peer['cpu_us_per_request'], 1)} | {text(peer['ratio_to_nginx'], 2)} "
            f"| {text(peer['ratio_to_hyper'], 2)} | {text(peer['ratio_to_nginx-lua'], 2)} "
            f"| {text(peer['requests_per_second'], 0)} | {text(peer['p99_ms'], 1)} "
            f"| {loaded['rss_kib'] / 1024:.1f} | {loaded['private_kib'] / 1024:.1f} | {peer['first_answer_ms']:.0f} "
            f"| {peer['rounds']} ({peer['rounds_dropped_as_noisy']}) |"
        )
    lines += ["", "Memory after the load. Start: from exec to the first answer, caches warm."]
    lines += [f"Left out: {name} ({why})." for name, why in result["left_out"].items()]
    failed = sum(peer["errors"] for peer in result["peers"])
    lines.append(f"Requests that failed: {failed}.")
    return "\n".join(lines) + "\n"


def write(result: dict, folder: Path, stamp: str) -> str:
    """Writes the JSON and the table; the table."""
    folder.mkdir(parents=True, exist_ok=True)
    table = markdown(result)
    for stem in (stamp, "latest"):
        (folder / f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n")
        (folder / f"{stem}.md").write_text(table)
    return table
