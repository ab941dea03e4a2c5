"""One round: wrk against one peer, with the account of who used the processor meanwhile."""

import os
import re
import subprocess
import time
from dataclasses import asdict, dataclass

from . import cpu
from .peers import Peer


@dataclass
class Round:
    """What one round of one peer gave. CPU per request in microseconds, latencies in milliseconds."""

    peer: str
    number: int
    requests: int
    errors: int
    requests_per_second: float
    cpu_us_per_request: float
    proxy_cores: float
    other_cores: float
    p50_ms: float
    p99_ms: float
    noisy: bool

    def as_dict(self) -> dict:
        return asdict(self)


UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


def wrk(address: str, core: int, connections: int, seconds: int) -> tuple[str, float]:
    """Runs wrk; its output and the CPU seconds it took."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    process = subprocess.Popen(
        [*command, "-H", "user-agent: wrk", f"http://{address}/"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"wrk ended with {process.returncode}")
    return output, usage.ru_utime + usage.ru_stime


def parse(output: str) -> tuple[int, int, float, float]:
    """Requests, errors, and the 50th and 99th percentile in milliseconds."""
    requests = int(re.search(r"(\d+) requests in", output)[1])
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    errors = (int(failed[1]) if failed else 0) + (sum(map(int, sockets.groups())) if sockets else 0)

    def percentile(which: str) -> float:
        value, unit = re.search(rf"\s{which}%\s+([\d.]+)(us|ms|s|m)\b", output).groups()
        return float(value) * UNITS[unit]

    return requests, errors, percentile("50"), percentile("99")


def measure(peer: Peer, upstream: Peer, number: int, options) -> Round:
    """One round of one peer."""
    start = time.monotonic()
    own, busy = time.process_time(), cpu.busy_seconds()
    proxy, server = cpu.seconds(peer.pid), cpu.seconds(upstream.pid)
    output, load = wrk(peer.address, options.load_core, options.connections, options.seconds)
    proxy, server = cpu.seconds(peer.pid) - proxy, cpu.seconds(upstream.pid) - server
    own, busy = time.process_time() - own, cpu.busy_seconds() - busy
    elapsed = time.monotonic() - start
    requests, errors, p50, p99 = parse(output)
    others = max(0.0, busy - proxy - server - load - own) / elapsed
    return Round(
        peer=peer.name,
        number=number,
        requests=requests,
        errors=errors,
        requests_per_second=requests / elapsed,
        cpu_us_per_request=proxy * 1e6 / requests if requests else float("inf"),
        proxy_cores=proxy / elapsed,
        other_cores=others,
        p50_ms=p50,
        p99_ms=p99,
        noisy=others > options.noise,
    )
