"""How long a change takes until all workers have it, under full load: a filter's configuration, a script, a
compiled module, one route among many; and what thousands of changes leave in memory."""

import json
import time
import urllib.request
from pathlib import Path

from .. import catalogue, cpu, load, peers
from ..load import Load
from ..peers import Peer
from ..rounds import say
from ..tools import ROOT
from .common import Special, at, mib, result, running, server, table

KINDS = ("configuration", "script", "module", "route")
ROUTES = 10_000
SCRIPT = "function on_request(req) req.headers['x-edge'] = 'mark @MARK@' end\n"


class Change:
    """One thing in a policy that can be changed again and again. A change is a rename of the file in
    question, as an editor or a deployment does it."""

    def __init__(self, kind: str, peer: Peer):
        self.kind, self.peer, self.count = kind, peer, 0

    def apply(self) -> None:
        self.count += 1
        if self.kind == "script":
            self.replace(self.peer.config.with_suffix(".lua"), SCRIPT.replace("@MARK@", str(self.count)).encode())
        elif self.kind == "module":
            module = (ROOT / "filters/dist/headers.wasm").read_bytes()
            # Two modules that differ in a section without meaning: both are in the code cache after a while.
            self.replace(self.peer.config.with_suffix(".wasm"), module + custom_section(self.count % 2))
        else:
            text = self.peer.content(self.peer.values)
            before, after = {
                "configuration": ('"x-policy": "edge"', f'"x-policy": "edge-{self.count}"'),
                "route": ('"body": "mark"', f'"body": "mark {self.count}"'),
            }[self.kind]
            assert text.count(before) == 1
            self.replace(self.peer.config, text.replace(before, after).encode())

    @staticmethod
    def replace(file: Path, content: bytes) -> None:
        new = file.with_name(file.name + ".new")
        new.write_bytes(content)
        new.rename(file)


def custom_section(number: int) -> bytes:
    """A custom section named `n`, of one byte."""
    content = bytes([1]) + b"n" + bytes([number])
    return bytes([0, len(content)]) + content


def subject(kind: str, folder: Path) -> Peer:
    """A gateway whose policy holds what is to be changed."""
    name = f"change-{kind}"
    if kind == "script":
        (folder / f"{name}.lua").write_text(SCRIPT)
        return catalogue.tollgate(name, kind, {"edge": {"lua": {"file": f"@DIR@/{name}.lua"}}})
    if kind == "module":
        Change.replace(folder / f"{name}.wasm", (ROOT / "filters/dist/headers.wasm").read_bytes() + custom_section(0))
        one = catalogue.headers_filter()
        one["wasm"]["module"] = f"@DIR@/{name}.wasm"
        return catalogue.tollgate(name, kind, {"edge": one})
    if kind == "route":
        routes = [{"match": {"host": catalogue.host(index)}, "forward": {"upstream": "up"}} for index in range(ROUTES)]
        routes[ROUTES // 2] = {"match": {"host": "mark.test"}, "respond": {"status": 200, "body": "mark"}}
        routes.append({"forward": {"upstream": "up"}})
        return catalogue.tollgate(name, kind, routes=routes)
    return catalogue.tollgate(name, kind, {"edge": catalogue.headers_filter()})


def reload(peer: Peer) -> dict:
    """Asks for a reload and waits for its outcome: all workers have the new policy then. One that is refused is an
    answer of 4xx, so an OSError."""
    request = urllib.request.Request(f"http://{peer.admin}/policy/reload", method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def run(opts, folder: Path) -> dict:
    layout = peers.layouts()["shared"]
    count, kept = (1_000, 10_000) if opts.full else (100, 300)
    rows, headline = [], []
    with server(folder, layout) as upstream:
        for kind in KINDS:
            # Ten thousand of one kind show growth; the others need no more than tell their 99th percentile.
            swaps = kept if kind == "configuration" else min(count, 200) if kind == "route" else count
            peer = subject(kind, folder)
            with running(peer, upstream, folder, layout):
                one = measure(kind, peer, layout, swaps, folder)
            rows.append(one)
            headline.append(f"{kind} {one[3]} ms (p99 {one[4]})")
    columns = [
        "what changed", "changes", "timed", "event to all workers ms, median", "p99", "largest", "of it the swap itself ms, median",
        "p99", "requests meanwhile", "failed", "private MiB after 100", "at the end",
    ]
    note = (
        "64 connections, a worker on each core, load and upstream on the same cores. The event is the rename of the file with a "
        "reload asked for at once; a change that the gateway's own watch saw first is not timed. Modules are in the code cache."
    )
    return result(table("Changes under full load", columns, rows, note), headline="; ".join(headline), failed=sum(row[9] for row in rows))


def measure(kind: str, peer: Peer, layout: peers.Layout, swaps: int, folder: Path) -> list:
    change = Change(kind, peer)
    for _ in range(4):  # both modules compiled, at both levels
        change.apply()
        reload(peer)
        peer.settle()
    wrk = load.spawn(peer, Load(), layout, 1800, folder)
    time.sleep(1)
    whole, commits, early = [], [], 0
    for number in range(1, swaps + 1):
        change.apply()
        begin = time.monotonic()
        outcome = reload(peer)
        if outcome["outcome"] == "applied":
            whole.append((time.monotonic() - begin) * 1e3)
            commits.append(outcome["phases"]["commit_ms"])
        if number == min(100, swaps):
            early = cpu.memory_kib(peer.pid)["private_kib"]
    answer = load.finish(wrk)
    late = cpu.memory_kib(peer.pid)["private_kib"]
    whole, commits = whole or [float("nan")], commits or [float("nan")]
    say(f"{kind}: {at(whole, .5):.2f} ms, p99 {at(whole, .99):.2f}, {answer.errors} failed, {mib(early)} → {mib(late)} MiB")
    return [
        kind if kind != "route" else f"one route among {ROUTES:,}", swaps, len(whole),
        *(round(value, 2) for value in (at(whole, .5), at(whole, .99), max(whole), at(commits, .5), at(commits, .99))),
        answer.requests, answer.errors, mib(early), mib(late),
    ]


SPECIAL = (Special("changes", "Changes under full load", "How long until a change is live on all workers, and does it leave anything?", run),)
