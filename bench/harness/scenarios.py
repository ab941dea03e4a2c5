"""Scenarios that are measured in interleaved rounds: who takes part and what is sent."""

from collections.abc import Callable
from dataclasses import dataclass, field

from . import catalogue
from .catalogue import host
from .load import Load
from .peers import FILES, Peer

# What the risk script looks at.
RISKY = (("x-country", "DE"), ("content-type", "text/plain"))
# A process that proxies a request holds a descriptor on each side.
MOST_ACTIVE = min(10_000, (FILES - 1_000) // 2)


@dataclass(frozen=True)
class Scenario:
    """`quick`: the peers that take part in a quick run, all if empty; None: the scenario does not."""

    name: str
    title: str
    asks: str
    peers: Callable[[], list[Peer]]
    loads: tuple[Load, ...] = (Load(),)
    layout: str = "pinned"
    quick: tuple[str, ...] | None = None
    quick_loads: tuple[str, ...] = field(default=())
    rounds: int = 0  # at most so many; 0: as many as asked for

    @property
    def sized(self) -> bool:
        """Whether a quick run has less of it."""
        return bool(self.quick or self.quick_loads)


def without(*names: str, connections: int = 4096) -> Callable[[], list[Peer]]:
    """The plain peers but these."""
    return lambda: [peer for peer in catalogue.plain_peers(connections) if peer.name not in names]


BODIES = (
    Load("GET 1 KiB"),
    Load("GET 64 KiB", "/files/64k"),
    Load("GET 1 MiB", "/files/1m"),
    Load("POST 1 KiB", "/post", method="POST", body_bytes=1 << 10),
    Load("POST 64 KiB", "/post", method="POST", body_bytes=64 << 10),
    Load("POST 1 MiB", "/post", method="POST", body_bytes=1 << 20),
)
KEYS = (Load("one key", headers=(("x-key", "k1"),)), Load("a million keys", vary=("x-key", "k{}", 1_000_000)))
ACTIVE = tuple(
    Load(f"{count:,} active", connections=count, seconds=seconds)
    for count, seconds in ((64, 1), (1_000, 3), (MOST_ACTIVE, 5))
)
LUA = ("hyper", "nginx", "nginx-lua", "haproxy-lua", "envoy-lua", "envoy-wasm", "tollgate-wasm", "tollgate-lua")


def routes(count: int) -> Scenario:
    return Scenario(
        f"routes-{count}", f"{count:,} routes", "What does it cost to find one of many hosts?",
        lambda: catalogue.route_peers(count), (Load("a random host", vary=("Host", host("{}"), count)),),
    )


EVERY = (
    Scenario(
        "plain", "Plain proxying", "What does a request cost that is only passed on?",
        catalogue.plain_peers, quick=(),
    ),
    Scenario(
        "plain-shared", "Plain proxying, both cores", "And when proxy, load and upstream share all cores?",
        without("caddy"), layout="shared", quick=("hyper", "nginx", "haproxy", "tollgate", "envoy"),
    ),
    Scenario(
        "header", "The header policy", "Two reads, a header set on each side: what does the policy cost in each language?",
        catalogue.header_peers, quick=LUA,
    ),
    Scenario(
        "header-shared", "The header policy, both cores", "The same with a worker on each core.",
        lambda: [peer for peer in catalogue.header_peers() if peer.name in LUA], layout="shared",
    ),
    Scenario(
        "risk", "A risk script", "The same risk score in Lua: what does it cost in each gateway?",
        catalogue.risk_peers, (Load(headers=RISKY),), quick=(),
    ),
    Scenario(
        "chain", "Chains of filters", "What does each further Wasm filter cost?",
        catalogue.chain_peers, quick=("hyper", "nginx", "tollgate", "tollgate-1", "tollgate-4", "tollgate-16"),
    ),
    Scenario(
        "bodies", "Bodies", "What does it cost to carry large bodies?",
        without("caddy"), BODIES, quick=("hyper", "nginx", "tollgate"), quick_loads=("GET 64 KiB", "POST 64 KiB"),
    ),
    Scenario(
        "rewrite", "Body rewrite", "A literal is replaced in a text of 6 KiB.",
        catalogue.redact_peers, (Load(path="/files/text"),),
    ),
    Scenario("limit", "Token bucket", "One key, and a million of them.", catalogue.limit_peers, KEYS),
    routes(10),
    routes(1_000),
    routes(100_000),
    Scenario(
        "active", "Active connections", "Few and many connections, all busy.", without("caddy", connections=FILES), ACTIVE, rounds=3,
    ),
    Scenario(
        "latency", "Latency at a fixed rate", "What do clients wait at 4,000 requests a second (corrected for coordinated omission)?",
        lambda: [*catalogue.plain_peers(), *(peer for peer in catalogue.header_peers() if peer.name in LUA[2:])],
        (Load(rate=4_000),), quick=("hyper", "nginx", "nginx-lua", "envoy-wasm", "tollgate", "tollgate-wasm"),
    ),
)
