"""Runs a scenario: all peers started, one awake at a time, in rounds that interleave; figures as ratios."""

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median, quantiles

from . import cpu, load, peers, tools
from .load import Load, Round
from .peers import UPSTREAM_ADDRESSES, Peer
from .scenarios import Scenario

YARDSTICKS = ("nginx", "hyper", "nginx-lua")
# Cores that others may use in a round; figures that were taken with another limit are not published.
NOISE = 0.25


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def available(every: list[Peer]) -> tuple[list[Peer], dict[str, str]]:
    """The peers that this machine has, and the others with the reason."""
    left_out = {peer.title: why for peer in every if (why := peer.missing())}
    for title, why in left_out.items():
        say(f"left out: {title}: {why}")
    return [peer for peer in every if not peer.missing()], left_out


def run(scenario: Scenario, opts, folder: Path) -> dict:
    """The scenario's figures, as they go into the results."""
    wanted, loads, only_full = scenario.peers(), list(scenario.loads), []
    if not opts.full and scenario.quick:
        only_full += [peer.title for peer in wanted if peer.name not in scenario.quick]
        wanted = [peer for peer in wanted if peer.name in scenario.quick]
    if not opts.full and scenario.quick_loads:
        only_full += [one.label for one in loads if one.label not in scenario.quick_loads]
        loads = [one for one in loads if one.label in scenario.quick_loads]
    if opts.peers:
        wanted = [peer for peer in wanted if peer.name in opts.peers]
    chosen, left_out = available(wanted)
    if not chosen:
        raise RuntimeError("no peer is left")
    if any(one.rate for one in loads) and tools.find("oha") is None:
        raise RuntimeError(f"oha is needed: {tools.how('oha')}")
    layout = peers.layouts()[scenario.layout]
    server = peers.upstream(folder)
    try:
        server.prepare(folder, "", layout)
        server.start(layout.load, folder)
        notes = {peer.name: start(peer, place, layout, folder) for peer, place in zip(chosen, places(server.address))}
        done = rounds(chosen, loads, layout, scenario.rounds, opts, folder)
        for peer in chosen:
            notes[peer.name]["memory_loaded"] = cpu.memory_kib(peer.pid)
    finally:
        for peer in [*chosen, server]:
            peer.stop()
    return {
        "kind": "rounds",
        "layout": scenario.layout,
        "loads": [vars(one) for one in loads],
        "only_full": only_full,
        "left_out": left_out,
        "rows": [row(peer, one, chosen, done, notes[peer.name]) for one in loads for peer in chosen],
        "rounds": [one.as_dict() for one in done],
        "configurations": {peer.name: peer.configuration() for peer in chosen},
    }


def places(address: str) -> Iterator[str]:
    """Addresses of the upstream, another one for each peer: ports to one address run out, since a closed
    connection keeps its own for a minute."""
    port = address.rpartition(":")[2]
    return (f"127.0.0.{1 + number % UPSTREAM_ADDRESSES}:{port}" for number in count())


def start(peer: Peer, upstream: str, layout: peers.Layout, folder: Path) -> dict:
    """Starts a peer, checks that it does its work, notes what it takes when idle, and holds it still."""
    peer.prepare(folder, upstream, layout)
    peer.start(layout.proxy, folder)
    if peer.compiles:  # the first start fills its caches
        peer.settle()
        peer.stop()
        peer.start(layout.proxy, folder)
        peer.settle()
    if peer.expects:
        peer.expects(peer)
    idle = cpu.memory_kib(peer.pid)
    peer.pause()
    return {"memory_idle": idle}


def rounds(chosen: list[Peer], loads: list[Load], layout: peers.Layout, most: int, opts, folder: Path) -> list[Round]:
    """Rounds, the peers taking turns, each time with another one first, until each has enough quiet ones;
    at most twice as many as asked for, and two more."""
    wanted = min(opts.rounds, most or opts.rounds)
    turns = [(peer, one) for one in loads for peer in chosen]
    for peer, one in turns:  # warm-up: connections, pools and buffers
        if one.many:
            continue  # its rounds open all they need anew
        peer.resume()
        load.wrk(peer.address, layout, one, 1, folder) if not one.rate else load.oha(peer.address, layout, one, 1)
        peer.pause()
    done, quiet = [], {(peer.name, one.label): 0 for peer, one in turns}
    for number in range(2 * wanted + 2):
        first = number % len(turns)
        for peer, one in turns[first:] + turns[:first]:
            if quiet[peer.name, one.label] >= wanted:
                continue
            peer.resume()
            got = load.measure(peer, one, layout, number, opts.seconds, opts.noise, folder)
            rest(peer, one)
            done.append(got)
            quiet[got.peer, got.case] += not got.noisy
            say(
                f"round {number + 1} {got.peer:<14} {got.case:<16} {got.cpu_us_per_request:7.1f} µs "
                f"{got.requests_per_second:8.0f}/s, others {got.other_cores:.2f} cores"
                f"{' (noisy: dropped)' if got.noisy else ''}{f', {got.errors} FAILED' if got.errors else ''}"
            )
        if min(quiet.values()) >= wanted:
            break
    return done


def rest(peer: Peer, one: Load) -> None:
    """Holds a peer still; one that has thousands of connections to close does that first."""
    if one.many:
        cpu.wait_until_idle(peer.pid)
    peer.pause()


def spread(values: list[float]) -> dict | None:
    """Median and quartiles."""
    if not values:
        return None
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": median(values), "low": low, "high": high}


def ratios(done: list[Round], mine: tuple[str, str], yardstick: tuple[str, str]) -> dict | None:
    """CPU per request against a yardstick, round by round, where both rounds were quiet."""
    quiet = {(r.peer, r.case, r.number): r.cpu_us_per_request for r in done if not r.noisy and r.requests}
    numbers = sorted(number for *who, number in quiet if tuple(who) == mine and (*yardstick, number) in quiet)
    return spread([quiet[*mine, number] / quiet[*yardstick, number] for number in numbers])


def row(peer: Peer, one: Load, chosen: list[Peer], done: list[Round], notes: dict) -> dict:
    """All that is said of one peer under one load."""
    mine = [r for r in done if (r.peer, r.case) == (peer.name, one.label)]
    quiet = [r for r in mine if not r.noisy]
    measures = {p.yardstick: p.name for p in chosen if p.yardstick and p.group == peer.group}
    return {
        "peer": peer.name,
        "title": peer.title,
        "case": one.label,
        "rounds": len(quiet),
        "dropped": len(mine) - len(quiet),
        "requests": sum(r.requests for r in mine),
        "errors": sum(r.errors for r in mine),
        "cpu_us_per_request": spread([r.cpu_us_per_request for r in quiet]),
        "requests_per_second": spread([r.requests_per_second for r in quiet]),
        "p50_ms": spread([r.p50_ms for r in quiet]),
        "p99_ms": spread([r.p99_ms for r in quiet]),
        "p999_ms": spread([r.p999_ms for r in quiet if r.p999_ms is not None]),
        **{
            f"to_{name}": ratios(done, (peer.name, one.label), (measures[name], one.label)) if name in measures else None
            for name in YARDSTICKS
        },
        **notes,
    }
