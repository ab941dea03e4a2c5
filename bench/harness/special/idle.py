"""What connections cost that are kept and do nothing."""

import socket
import time
from pathlib import Path

from .. import catalogue, cpu, peers
from ..rounds import available, say
from .common import Special, behind, mib, result, running, server, table

COUNTS = (64, 1_000, 10_000)
# Seconds between the last answer and the look at the memory: a peer may give back what idle connections leave.
SETTLE = 4


def run(opts, folder: Path) -> dict:
    layout = peers.layouts()["pinned"]
    counts = [count for count in COUNTS if count < peers.FILES - 500]
    chosen, left_out = available(catalogue.plain_peers(peers.FILES))
    rows, ours, held_by, losses = [], "", {}, []
    with server(folder, layout) as upstream:
        for peer in chosen:
            with running(peer, upstream, folder, layout):
                held: list[socket.socket] = []
                sizes = [cpu.memory_kib(peer.pid)["private_kib"]]
                try:
                    for count in counts:
                        if not hold(peer.address, held, count):
                            break
                        time.sleep(SETTLE)
                        sizes.append(cpu.memory_kib(peer.pid)["private_kib"])
                    spent = idle_cpu(peer)
                finally:
                    for one in held:
                        one.close()
            reached = counts[len(sizes) - 2]
            each = (sizes[-1] - sizes[0]) / reached
            say(f"{peer.name}: {mib(sizes[-1])} MiB with {reached} connections")
            missing = ["not served"] * (len(counts) + 1 - len(sizes))
            rows.append([peer.title, *map(mib, sizes), *missing, round(each, 1), round(spent * 100, 1)])
            if missing:
                continue
            if peer.name == "tollgate":
                ours = f"{counts[-1]:,} idle connections: {mib(sizes[-1])} MiB private, {each:.1f} KiB each"
            held_by[peer.name] = (peer.title, mib(sizes[-1]))
    if "tollgate" in held_by:
        others = dict(held_by[name] for name in held_by if name not in ("tollgate", "hyper"))
        losses = behind(f"{counts[-1]:,} idle connections", "MiB", held_by["tollgate"][1], others)
    columns = ["", "none", *(f"{count:,}" for count in counts), "KiB each", "CPU meanwhile, % of a core"]
    note = (
        f"Private memory in MiB; each connection has had one answer, the last {SETTLE} s ago. The kernel's own buffers are not in it. Not served: the peer takes "
        f"no more, since it reserves two descriptors for each connection of the {peers.FILES:,} that this machine gives a process."
    )
    return result(table("Idle connections", columns, rows, note), headline=ours, failed=0, left_out=left_out, losses=losses)


def hold(address: str, held: list[socket.socket], count: int) -> bool:
    """Opens connections until there are so many; each asks once and reads the whole answer. Whether all of
    them were served."""
    host, port = address.split(":")
    request = f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
    while len(held) < count:
        try:
            one = socket.create_connection((host, int(port)), timeout=2)
            held.append(one)
            one.sendall(request)
            answer = b""
            while not (b"\r\n\r\n" in answer and len(answer.split(b"\r\n\r\n", 1)[1]) >= len(peers.BODY)):
                piece = one.recv(8192)
                if not piece:
                    return False
                answer += piece
        except OSError:
            return False
    return True


def idle_cpu(peer: peers.Peer) -> float:
    """Cores that the peer uses while nothing comes."""
    with cpu.Others() as window:
        before = cpu.seconds(peer.pid)
        time.sleep(1)
        spent = cpu.seconds(peer.pid) - before
    return spent / window.elapsed


SPECIAL = (Special("idle", "Idle connections", "What does a kept connection cost?", run, sized=False),)
