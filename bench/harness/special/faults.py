"""A route whose filter traps or loops, beside a healthy route on the same worker."""

import time
from collections import Counter
from pathlib import Path

from .. import catalogue, load, peers
from ..load import Load
from ..peers import Peer
from ..rounds import say
from .common import Special, result, running, server, table

I32, VOID = 0x7F, 0x40


def section(number: int, *items: bytes) -> bytes:
    content = leb(len(items)) + b"".join(items)
    return bytes([number]) + leb(len(content)) + content


def leb(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def named(text: str) -> bytes:
    return leb(len(text)) + text.encode()


def bad_filter(body: bytes) -> bytes:
    """A Proxy-Wasm filter that does `body` at request headers and returns 0."""
    types = section(1, bytes([0x60, 0, 0]), bytes([0x60, 1, I32, 1, I32]), bytes([0x60, 3, I32, I32, I32, 1, I32]))
    functions = section(3, leb(0), leb(1), leb(2))
    memory = section(5, bytes([0, 1]))
    exports = section(
        7,
        named("memory") + bytes([2, 0]),
        named("proxy_abi_version_0_2_1") + bytes([0, 0]),
        named("proxy_on_memory_allocate") + bytes([0, 1]),
        named("proxy_on_request_headers") + bytes([0, 2]),
    )
    bodies = [b"\x0b", b"\x41\x80\x08\x0b", body + b"\x41\x00\x0b"]
    code = section(10, *(leb(len(one) + 1) + b"\x00" + one for one in bodies))
    return b"\0asm\1\0\0\0" + types + functions + memory + exports + code


BAD = {"trap": b"\x00", "loop": bytes([0x03, VOID, 0x0C, 0, 0x0B])}


def run(opts, folder: Path) -> dict:
    seconds = 5 if opts.full else 2
    layout = peers.layouts()["pinned"]
    rows = []
    with server(folder, layout) as upstream:
        for kind, body in BAD.items():
            (folder / f"{kind}.wasm").write_bytes(bad_filter(body))
            filters = {"edge": catalogue.headers_filter(), "bad": {"wasm": {"module": f"@DIR@/{kind}.wasm"}}}
            routes = [
                {"match": {"path": {"prefix": "/bad"}}, "filters": ["bad"], "forward": {"upstream": "up"}},
                {"filters": ["edge"], "forward": {"upstream": "up"}},
            ]
            peer = catalogue.tollgate(f"tollgate-{kind}", f"Tollgate, a filter with a {kind}", filters, routes, expects=catalogue.edits())
            with running(peer, upstream, folder, layout):
                rows += beside(kind, peer, layout, seconds, folder)
    columns = ["", "healthy requests/s", "failed", "p50 ms", "p99 ms", "bad requests/s", "their answers"]
    bad = {row[0]: row for row in rows}
    worst = "; ".join(
        f"healthy p99 {bad[f'{kind}: alone'][4]} ms alone, {bad[f'{kind}: closed loop beside it'][4]} ms beside a {kind}" for kind in BAD
    )
    note = f"{seconds} s each, one worker, 64 healthy connections. Beside it: one connection asks the bad route at 20 a second, then as fast as it goes."
    failed = sum(row[2] for row in rows)  # of the healthy ones
    return result(table("Traps and loops beside a healthy route", columns, rows, note), headline=worst, failed=failed)


def beside(kind: str, peer: Peer, layout: peers.Layout, seconds: int, folder: Path) -> list[list]:
    """The healthy route alone, with a few bad requests, with many, and alone again."""
    rows = []
    for title, pace in (("alone", None), ("20 a second beside it", 20), ("closed loop beside it", 0), ("alone again", None)):
        healthy = load.spawn(peer, Load(), layout, seconds + 30, folder)
        told = ask(peer, pace, seconds)
        got = load.finish(healthy)
        say(f"{kind}, {title}: p99 {got.p99:.1f} ms, {got.errors} failed")
        rows.append([f"{kind}: {title}", round(got.requests / got.seconds), got.errors, round(got.p50, 2), round(got.p99, 2), *told])
    return rows


def ask(peer: Peer, pace: int | None, seconds: float) -> tuple[str, str]:
    """Asks the bad route for some seconds: so often, or as fast as it goes (0), or not at all (None). How
    many answers came a second, and which."""
    begin = time.monotonic()
    if pace is None:
        time.sleep(seconds)
        return "", ""
    answers: Counter[int] = Counter()
    while time.monotonic() - begin < seconds:
        status, _, _ = peer.get("/bad", {})
        answers[status] += 1
        if pace:
            time.sleep(max(0.0, begin + sum(answers.values()) / pace - time.monotonic()))
    rate = sum(answers.values()) / (time.monotonic() - begin)
    return f"{rate:.0f}", ", ".join(f"{count} × {status}" for status, count in answers.items())


SPECIAL = (Special("faults", "Traps and loops beside a healthy route", "Does a broken filter hurt its neighbours?", run),)
