"""What the special scenarios share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .. import peers
from ..peers import Layout, Peer


@dataclass(frozen=True)
class Special:
    """`run` takes the options and a folder, and gives what goes into the results. `quick`: anything but None
    has it run in a quick run too. `sized`: a quick run does less of it."""

    name: str
    title: str
    asks: str
    run: Callable[[object, Path], dict]
    quick: tuple[str, ...] | None = None
    sized: bool = True


@contextmanager
def server(folder: Path, layout: Layout) -> Iterator[Peer]:
    """The upstream, for as long as the block runs."""
    one = peers.upstream(folder)
    one.prepare(folder, "", layout)
    one.start(layout.load, folder)
    try:
        yield one
    finally:
        one.stop()


@contextmanager
def running(peer: Peer, upstream: Peer, folder: Path, layout: Layout) -> Iterator[Peer]:
    """A peer that has been checked and has settled; started twice if its first start fills caches."""
    peer.prepare(folder, upstream.address, layout)
    try:
        peer.start(layout.proxy, folder)
        if peer.compiles:
            peer.settle()
            peer.stop()
            peer.start(layout.proxy, folder)
            peer.settle()
        if peer.expects:
            peer.expects(peer)
        yield peer
    finally:
        peer.stop()


def table(title: str, columns: list[str], rows: list[list], note: str = "") -> dict:
    return {"title": title, "columns": columns, "rows": rows, "note": note}


def result(*tables: dict, headline: str, failed: int, **more) -> dict:
    """`failed`: how many requests failed that should not; what others lose when they are reloaded, or what a
    filter that traps gives, is none of it. `losses` as of `behind`."""
    return {"kind": "tables", "tables": list(tables), "headline": headline, "failed": failed, **more}


def behind(what: str, unit: str, ours: float, others: dict[str, float]) -> list[tuple[float, str]]:
    """Who needs less than we do, for the page's list of where we lose: how many times as much we need, and a line."""
    return [
        (ours / value, f"{what}: {ours} {unit}, {title} {value}")
        for title, value in others.items() if value and ours > 1.03 * value
    ]


def at(values: list[float], share: float) -> float:
    """A quantile: the value that so many are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def mib(kib: float) -> float:
    return round(kib / 1024, 1)
