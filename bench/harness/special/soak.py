"""Growth: the header policy and the risk script under full load for minutes."""

import time
import urllib.request
from pathlib import Path

from .. import catalogue, cpu, load, peers
from ..load import Load
from ..peers import Peer
from ..rounds import say
from ..scenarios import RISKY
from .common import Special, mib, result, running, server, table


def run(opts, folder: Path) -> dict:
    length = opts.soak_seconds
    layout = peers.layouts()["shared"]
    filters = {"edge": catalogue.headers_filter(), "risk": catalogue.risk_policy()}
    peer = catalogue.tollgate("tollgate", "Tollgate, header policy and risk script", filters)
    points = []
    with server(folder, layout) as upstream, running(peer, upstream, folder, layout):
        points.append((0.0, cpu.memory_kib(peer.pid)["private_kib"]))
        wrk = load.spawn(peer, Load(headers=RISKY), layout, length + 60, folder)
        begin = time.monotonic()
        while time.monotonic() - begin < length:
            time.sleep(min(5.0, length / 10))
            points.append((time.monotonic() - begin, cpu.memory_kib(peer.pid)["private_kib"]))
        answer = load.finish(wrk)
        told = troubles(peer)
    # The first fifth fills pools and caches: growth is what comes after it.
    settled = next(kib for second, kib in points if second >= length / 5)
    growth, hours = points[-1][1] - settled, (points[-1][0] * 0.8) / 3600
    say(f"soak: {mib(settled)} to {mib(points[-1][1])} MiB, {answer.errors} failed")
    for line in [answer.wrong, *told] if answer.errors else []:
        say(f"soak: {line}")
    rows = [
        ["length, s", round(points[-1][0])], ["requests", answer.requests], ["failed", answer.errors],
        ["private MiB, idle", mib(points[0][1])], ["after a fifth of the time", mib(settled)],
        ["at the end", mib(points[-1][1])], ["most", mib(max(kib for _, kib in points))],
        ["growth, KiB an hour", round(growth / hours)],
    ]
    if answer.errors:
        rows += [["the load tool on failures", answer.wrong], ["the gateway on failures", "; ".join(told) or "nothing"]]
    headline = f"{answer.requests:,} requests in {points[-1][0]:.0f} s, {answer.errors} failed; private memory {mib(settled)} → {mib(points[-1][1])} MiB"
    series = [{"label": "private MiB", "points": [[round(second, 1), mib(kib)] for second, kib in points]}]
    return result(table("Soak", ["", ""], rows), headline=headline, failed=answer.errors, series=series, axes=["s", "MiB"])


def troubles(peer: Peer) -> list[str]:
    """What the gateway has counted that could be a failed request: series above zero."""
    with urllib.request.urlopen(f"http://{peer.admin}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    kinds = ("filter_failures_total", "filter_restarts_total", "upstream_connections_failed_total", "client_connections_failed_total", "requests_total{")
    counted = [line.removeprefix("tollgate_") for line in lines if line.removeprefix("tollgate_").startswith(kinds)]
    return [line for line in counted if not line.endswith(" 0") and 'class="2xx"' not in line]


SPECIAL = (Special("soak", "Soak", "Does it grow?", run, sized=False),)
