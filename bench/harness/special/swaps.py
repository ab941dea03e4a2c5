"""Swaps of a policy at a steady pace under full load: does anybody notice?"""

import time
from pathlib import Path

from .. import catalogue, cpu, load, peers
from ..load import Load
from ..rounds import say
from .changes import Change, reload
from .common import Special, at, mib, result, running, server, table

PACES = (0, 1, 10, 100)


def run(opts, folder: Path) -> dict:
    seconds = 10 if opts.full else 3
    layout = peers.layouts()["shared"]
    peer = catalogue.tollgate_chain(1)
    rows, still = [], 0.0
    with server(folder, layout) as upstream, running(peer, upstream, folder, layout):
        change = Change("configuration", peer)
        load.wrk(peer.address, layout, Load(), 2, folder)
        for pace in PACES:
            before = cpu.memory_kib(peer.pid)["private_kib"]
            wrk = load.spawn(peer, Load(), layout, seconds + 30, folder)
            took = swaps(peer, change, pace, seconds)
            answer = load.finish(wrk)
            rate = answer.requests / answer.seconds
            still = still or rate
            after = cpu.memory_kib(peer.pid)["private_kib"]
            rows.append([
                pace, len(took), f"{at(took, .5):.2f}" if took else "", f"{at(took, .99):.2f}" if took else "",
                answer.requests, answer.errors, round(rate / still, 2), round(answer.p50, 2), round(answer.p99, 2), mib(after - before),
            ])
            say(f"{pace} swaps a second: {answer.errors} failed, p99 {answer.p99:.1f} ms")
    columns = [
        "swaps a second", "done", "reload ms, median", "p99", "requests", "failed", "requests/s to none", "p50 ms", "p99 ms",
        "memory more, MiB",
    ]
    failed = sum(row[5] for row in rows)
    headline = f"100 swaps a second: {rows[-1][6]:.0%} of the requests a second without; {failed} failed in all"
    told = table("Swaps under load", columns, rows, f"{seconds} s each, a worker on each core, 64 connections.")
    return result(told, headline=headline, failed=failed)


def swaps(peer: peers.Peer, change: Change, pace: int, seconds: float) -> list[float]:
    """Swaps at a pace for some seconds: how long each reload took, in milliseconds."""
    took: list[float] = []
    end = time.monotonic() + seconds
    if pace == 0:
        time.sleep(seconds)
        return took
    due = time.monotonic()
    while due < end:
        change.apply()
        begin = time.monotonic()
        reload(peer)
        took.append((time.monotonic() - begin) * 1e3)
        due += 1 / pace
        time.sleep(max(0.0, due - time.monotonic()))
    return took


SPECIAL = (Special("swaps", "Swaps under load", "Do clients notice that the policy changes all the time?", run, ()),)
