"""One round: wrk (as fast as it goes) or oha (at a fixed rate) against one peer, and who used the processor."""

import json
import os
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from . import cpu, tools
from .peers import Layout, Peer

AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


@dataclass(frozen=True)
class Load:
    """What is sent. `vary` is a header with `{}` in its value, which is a random number below `among`."""

    label: str = ""
    path: str = "/"
    method: str = "GET"
    body_bytes: int = 0
    connections: int = 64
    headers: tuple[tuple[str, str], ...] = ()
    vary: tuple[str, str, int] | None = None
    rate: int = 0  # requests a second; 0: as many as go
    seconds: int = 0  # least length of a round: opening thousands of connections takes a while

    @property
    def many(self) -> bool:
        """So many connections that a peer needs time to close them again."""
        return self.connections >= 1_000

    def script(self) -> str:
        """What wrk runs for all that its options cannot say, or nothing."""
        lines = []
        if self.method != "GET":
            lines.append(f'wrk.method = "{self.method}"')
        if self.body_bytes:
            lines.append(f'wrk.body = string.rep("b", {self.body_bytes})')
            lines.append('wrk.headers["content-type"] = "application/octet-stream"')
        if self.vary:
            name, value, among = self.vary
            lines += [
                # Formatted once each: the load should not be what is measured.
                "math.randomseed(1)",
                "function request()",
                f'  wrk.headers["{name}"] = ("{value.replace("{}", "%d")}"):format(math.random(0, {among - 1}))',
                "  return wrk.format()",
                "end",
            ]
        return "\n".join(lines)


@dataclass
class Round:
    """What one round of one peer gave. CPU per request in microseconds, latencies in milliseconds."""

    peer: str
    case: str
    number: int
    requests: int
    errors: int
    requests_per_second: float
    cpu_us_per_request: float
    proxy_cores: float
    other_cores: float
    p50_ms: float
    p99_ms: float
    p999_ms: float | None
    noisy: bool

    def as_dict(self) -> dict:
        return asdict(self)


def pinned(layout: Layout, *command: str) -> list[str]:
    return ["taskset", "-c", ",".join(map(str, layout.load)), *command]


def wrk_command(address: str, layout: Layout, load: Load, seconds: float, folder: Path) -> list[str]:
    """The command that sends a load."""
    headers = {"user-agent": AGENT, **dict(load.headers)}
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    if script := load.script():
        # One file for each script: two of them may be in use.
        file = folder / f"load-{abs(hash(script)):x}.lua"
        file.write_text(script)
        options += ["-s", str(file)]
    length = f"{max(1, round(seconds))}s"
    return pinned(
        layout, tools.find("wrk"), "-t1", f"-c{load.connections}", f"-d{length}", "--latency", "--timeout", "10s",
        *options, f"http://{address}{load.path}",
    )


@dataclass
class Answer:
    """What a load tool counted."""

    requests: int
    errors: int
    seconds: float
    p50: float
    p99: float
    p999: float | None
    # What was wrong, in the tool's words, if anything was.
    wrong: str = ""


def parse_wrk(output: str) -> Answer:
    """wrk's report. A round without an answer has no latencies."""
    found = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", output)
    if found is None:
        raise RuntimeError(f"wrk said:\n{output}")
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    errors = (int(failed[1]) if failed else 0) + (sum(map(int, sockets.groups())) if sockets else 0)

    def percentile(which: str) -> float:
        value, unit = re.search(rf"\s{which}%\s+([\d.]+)(us|ms|s|m)\b", output).groups()
        return float(value) * UNITS[unit]

    seconds = float(found[2]) * UNITS[found[3]] / 1e3
    wrong = "; ".join(report[0] for report in (failed, sockets) if report) if errors else ""
    return Answer(int(found[1]), errors, seconds, percentile("50"), percentile("99"), None, wrong)


def wrk(address: str, layout: Layout, load: Load, seconds: float, folder: Path) -> Answer:
    """Runs wrk to its end."""
    command = wrk_command(address, layout, load, seconds, folder)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"wrk ended with {done.returncode}: {done.stderr}")
    return parse_wrk(done.stdout)


def oha(address: str, layout: Layout, load: Load, seconds: float) -> Answer:
    """Requests at a fixed rate. Latency counts from when a request was due, not from when it could be sent:
    a proxy that stands still for a while does not get away with one slow request."""
    headers = [part for name, value in load.headers for part in ("-H", f"{name}: {value}")]
    command = pinned(
        layout, tools.find("oha"), "--no-tui", "--output-format", "json", "-z", f"{seconds}s", "-c",
        str(load.connections), "-q", str(load.rate), "--latency-correction", "-H", f"user-agent: {AGENT}",
        *headers, f"http://{address}{load.path}",
    )
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"oha ended with {done.returncode}: {done.stderr}")
    said = json.loads(done.stdout)
    good = sum(count for status, count in said["statusCodeDistribution"].items() if status[0] in "23")
    every = sum(said["statusCodeDistribution"].values())
    # Requests that were under way when the time was up are no failures.
    failed = sum(count for why, count in said["errorDistribution"].items() if "deadline" not in why)
    latency = said["latencyPercentiles"]
    return Answer(
        good, every - good + failed, said["summary"]["total"],
        *(latency[which] * 1e3 for which in ("p50", "p99", "p99.9")),
    )


def measure(peer: Peer, load: Load, layout: Layout, number: int, seconds: float, noise: float, folder: Path) -> Round:
    """One round of one peer. More than `noise` cores used by others make it a noisy one."""
    with cpu.Others() as others:
        before = cpu.seconds(peer.pid)
        seconds = max(seconds, load.seconds)
        answer = oha(peer.address, layout, load, seconds) if load.rate else wrk(peer.address, layout, load, seconds, folder)
        spent = cpu.seconds(peer.pid) - before
    return Round(
        peer=peer.name,
        case=load.label,
        number=number,
        requests=answer.requests,
        errors=answer.errors,
        requests_per_second=answer.requests / answer.seconds,
        cpu_us_per_request=spent * 1e6 / answer.requests if answer.requests else float("inf"),
        proxy_cores=spent / others.elapsed,
        other_cores=others.cores,
        p50_ms=answer.p50,
        p99_ms=answer.p99,
        p999_ms=answer.p999,
        noisy=others.cores > noise,
    )


def spawn(peer: Peer, load: Load, layout: Layout, seconds: float, folder: Path) -> subprocess.Popen:
    """wrk in the background; `finish` ends it and reads its report."""
    command = wrk_command(peer.address, layout, load, seconds, folder)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=os.environ)


def finish(process: subprocess.Popen) -> Answer:
    """Ends a wrk that `spawn` started (it reports what it has) and reads its report."""
    process.send_signal(2)
    output, _ = process.communicate(timeout=30)
    return parse_wrk(output)
