"""From exec to the first answer, and the memory of a gateway that has nothing to do."""

import shutil
from pathlib import Path
from statistics import median

from .. import catalogue, cpu, peers
from ..rounds import available, say
from ..tools import BENCH
from .common import Special, behind, mib, result, server, table

PLAIN = ("nginx", "haproxy", "pingora", "envoy", "caddy")
NAMES = ("nginx-lua", "haproxy-lua", "envoy-lua", "envoy-wasm", "tollgate-wasm", "tollgate-lua")


def run(opts, folder: Path) -> dict:
    times = 9 if opts.full else 5
    layout = peers.layouts()["pinned"]
    wanted = catalogue.plain_peers() + [peer for peer in catalogue.header_peers() if peer.name in NAMES]
    chosen, left_out = available(wanted)
    rows, ours, titles = [], {}, {}
    with server(folder, layout) as upstream:
        for peer in chosen:
            peer.prepare(folder, upstream.address, layout)
            cold = first_start(peer, layout, folder)
            warm = []
            for turn in range(times):
                warm.append(peer.start(layout.proxy, folder) * 1e3)
                if turn == times - 1:
                    peer.settle()
                    memory = cpu.memory_kib(peer.pid)
                peer.stop()
            say(f"{peer.name}: {median(warm):.0f} ms, {mib(memory['private_kib'])} MiB")
            ours[peer.name] = (round(median(warm), 1), mib(memory["private_kib"]))
            titles[peer.name] = peer.title
            rows.append([
                peer.title, round(median(warm), 1), round(min(warm), 1), round(max(warm), 1),
                round(cold) if cold else "", mib(memory["private_kib"]), mib(memory["rss_kib"]),
            ])
    columns = ["", "start ms, median", "least", "most", "with an empty code cache ms", "idle private MiB", "idle RSS MiB"]
    headline = "; ".join(
        f"{name}: first byte after {ours[name][0]:.0f} ms, {ours[name][1]} MiB private when idle"
        for name in ("tollgate", "tollgate-wasm") if name in ours
    )
    note = f"{times} starts each; RSS counts pages of files that others may share, private memory does not."
    return result(table("Start and idle memory", columns, rows, note), headline=headline, failed=0, left_out=left_out, losses=losses(ours, titles))


def losses(all_of: dict[str, tuple[float, float]], titles: dict[str, str]) -> list[tuple[float, str]]:
    """Where a gateway that only proxies starts sooner or holds less."""
    if "tollgate" not in all_of:
        return []
    others = [name for name in all_of if name in PLAIN]
    return [
        line for which, (what, unit) in enumerate((("start", "ms"), ("idle memory", "MiB")))
        for line in behind(what, unit, all_of["tollgate"][which], {titles[name]: all_of[name][which] for name in others})
    ]


def first_start(peer: peers.Peer, layout: peers.Layout, folder: Path) -> float | None:
    """The start that finds no compiled code, in milliseconds; None for a peer that compiles nothing ahead."""
    if not (peer.compiles and peer.program == "tollgate"):
        return None
    empty = folder / "cold-cache"
    shutil.rmtree(empty, ignore_errors=True)
    kept = list(peer.arguments)
    peer.arguments = [str(empty) if part == str(BENCH / "out/cache") else part for part in kept]
    took = peer.start(layout.proxy, folder) * 1e3
    peer.stop()
    peer.arguments = kept
    peer.start(layout.proxy, folder)  # fills the cache of the others
    peer.settle()
    peer.stop()
    return took


SPECIAL = (Special("start", "Start and idle memory", "How soon is it there, and what does it hold when idle?", run, ()),)
