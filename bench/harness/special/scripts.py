"""Scripts beside LuaJIT in other gateways: memory of one, ten, a hundred of them, and how a changed script
goes live under load: when the last worker has it, and what it costs the clients."""

import http.client
import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from statistics import median

from .. import catalogue, cpu, load, peers
from ..load import Load
from ..peers import Peer
from ..rounds import available, say
from ..scenarios import RISKY
from .common import Special, behind, mib, result, running, server, table

COUNTS = (1, 10, 100)


# A hundred scripts, each on a route of its own.

def many(count: int) -> list[Peer]:
    """The risk script `count` times: as many scripts, which share nothing, on as many routes."""
    def answers(peer: Peer) -> None:
        for index in range(count):
            status, headers, _ = peer.get(f"/s{index}/a", {"user-agent": "curl/8", "x-country": "FR"})
            assert (status, headers.get("x-saw-risk")) == (200, "10"), f"{peer.name}: script {index}: {status}, {headers}"

    return [
        nginx_many(count, answers), haproxy_many(count, answers), envoy_many(count, answers),
        tollgate_many(count, "Lua", catalogue.risk_policy(), answers),
        tollgate_many(count, "Starlark", catalogue.risk_in_starlark(), answers),
    ]


def tollgate_many(count: int, language: str, policy: dict, answers) -> Peer:
    routes = [
        {"match": {"path": {"prefix": f"/s{index}"}}, "filters": [f"risk-{index}"], "forward": {"upstream": "up"}}
        for index in range(count)
    ]
    routes.append({"forward": {"upstream": "up"}})
    filters = {f"risk-{index}": policy for index in range(count)}
    return catalogue.tollgate(f"tollgate-{language.lower()}-{count}", f"Tollgate + {language}", filters, routes, expects=answers)


def nginx_many(count: int, answers) -> Peer:
    """Each location its own code; each script its own copy of the rules, as scripts of different authors are."""
    policy = catalogue.text("nginx/risk.lua.conf")
    proxy = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://up;'
    locations = "".join(
        f"location /s{index}/ {{\n{policy.replace('risk.score', f'scripts[{index + 1}].score')}\n{proxy}\n}}\n" for index in range(count)
    )
    http = catalogue.text("nginx/risk.http.conf").replace(
        'risk = require "risk"',
        f"scripts = {{}} for index = 1, {count} do scripts[index] = dofile('@PEERS@/lua/risk.lua') end",
    )
    return catalogue.nginx_lua(f"nginx-{count}", "nginx + LuaJIT", {"HTTP": http, "LOCATIONS": locations}, expects=answers)


def haproxy_many(count: int, answers) -> Peer:
    policy = catalogue.text("haproxy/risk.lua.cfg").replace("    http-request lua.risk\n", "") + "".join(
        f"    http-request lua.risk{index} if {{ path_beg /s{index}/ }}\n" for index in range(count)
    )
    script = catalogue.text("lua/haproxy-risk.lua")
    names = [f".s{index}.lua" for index in range(count)]
    beside = {
        name: script.replace('require("risk")', 'dofile("@PEERS@/lua/risk.lua")').replace('action("risk"', f'action("risk{index}"')
        for index, name in enumerate(names)
    }
    scripts = tuple(f"@DIR@/@NAME@{name}" for name in names)
    return catalogue.haproxy(f"haproxy-{count}", "HAProxy + Lua", policy, scripts, beside=beside, expects=answers)


def envoy_many(count: int, answers) -> Peer:
    """Scripts of the route, each with a Lua state of its own on each worker."""
    script = catalogue.text("lua/envoy-risk.lua")
    routes = "\n                        ".join(
        "- " + json.dumps({
            "match": {"prefix": f"/s{index}/"}, "route": {"cluster": "up"},
            "typed_per_filter_config": {"lua": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute",
                "source_code": {"inline_string": script},
            }},
        }) for index in range(count)
    )
    inserts = {"ROUTES": routes, "HTTP_FILTERS": catalogue.envoy_lua_filter("function envoy_on_request(handle) end")}
    return catalogue.envoy(f"envoy-{count}", "Envoy + LuaJIT", inserts=inserts, expects=answers)


def memory(opts, folder: Path) -> tuple[dict, dict]:
    """The table of memory; and a headline, who was left out and who needs less than we do."""
    layout = peers.layouts()["pinned"]
    sizes: dict[str, list[float]] = {}
    left_out: dict[str, str] = {}
    with server(folder, layout) as upstream:
        for count in COUNTS:
            chosen, missing = available(many(count))
            left_out |= missing
            for peer in chosen:
                with running(peer, upstream, folder, layout):
                    sizes.setdefault(peer.title, []).append(cpu.memory_kib(peer.pid)["private_kib"])
                say(f"{peer.name}: {mib(sizes[peer.title][-1])} MiB")
    rows = [
        [title, *map(mib, values), round((values[-1] - values[0]) / (COUNTS[-1] - COUNTS[0]), 1)] for title, values in sizes.items()
    ]
    each = {row[0]: row[-1] for row in rows}
    others = {title: kib for title, kib in each.items() if not title.startswith("Tollgate")}
    losses = [line for title in each if title not in others for line in behind(f"each further script, {title}", "KiB", each[title], others)]
    headline = "each further script: " + ", ".join(f"{title} {kib} KiB" for title, kib in each.items())
    columns = ["", *(f"{count} scripts" if count > 1 else "1 script" for count in COUNTS), "each further one, KiB"]
    note = "Private memory in MiB, one worker, each script has answered. nginx: modules that share LuaJIT's one state; the others isolate scripts."
    return table("Memory of scripts", columns, rows, note), {"headline": headline, "left_out": left_out, "losses": losses}


# A changed script.

class Live:
    """A gateway whose script can be changed. `version` is what the script puts into x-policy."""

    def __init__(self, peer: Peer, write: Callable[[Peer, int], None], apply: Callable[[Peer], None]):
        self.peer, self.write, self.apply = peer, write, apply


def script_file(peer: Peer, suffix: str) -> Path:
    return peer.config.with_name(peer.name + suffix)


def live_gateways() -> list[Live]:
    def rename(file: Path, text: str) -> None:
        new = file.with_name(file.name + ".new")
        new.write_text(text)
        new.rename(file)

    def nginx_text(version: int) -> str:
        return f'ngx.header["x-policy"] = "v{version}"\n'

    def haproxy_text(version: int) -> str:
        return f'core.register_action("mark", {{ "http-res" }}, function(txn) txn.http:res_set_header("x-policy", "v{version}") end)\n'

    def tollgate_text(version: int) -> str:
        return f'function on_response(resp) resp.headers["x-policy"] = "v{version}" end\n'

    nginx = catalogue.nginx_lua("nginx-live", "nginx + LuaJIT (HUP)", {
        "POLICY": "header_filter_by_lua_file @DIR@/@NAME@.lua;"}, beside={".lua": nginx_text(0)})
    haproxy = catalogue.haproxy(
        "haproxy-live", "HAProxy + Lua (reload)", "http-response lua.mark\n", ("@DIR@/@NAME@.lua",), beside={".lua": haproxy_text(0)})
    haproxy.command = ["-W", "-f", "@CONFIG@"]
    tollgate = catalogue.tollgate("tollgate-live", "Tollgate + Lua (the file alone)", {
        "mark": {"lua": {"file": "@DIR@/tollgate-live.lua"}}}, files={".lua": tollgate_text(0)})
    asked = catalogue.tollgate("tollgate-asked", "Tollgate + Lua (file and reload)", {
        "mark": {"lua": {"file": "@DIR@/tollgate-asked.lua"}}}, files={".lua": tollgate_text(0)})
    return [
        Live(nginx, lambda p, v: rename(script_file(p, ".lua"), nginx_text(v)), lambda p: p.process.send_signal(signal.SIGHUP)),
        Live(haproxy, lambda p, v: rename(script_file(p, ".lua"), haproxy_text(v)), lambda p: p.process.send_signal(signal.SIGUSR2)),
        Live(tollgate, lambda p, v: rename(script_file(p, ".lua"), tollgate_text(v)), lambda p: None),
        Live(asked, lambda p, v: rename(script_file(p, ".lua"), tollgate_text(v)), ask),
    ]


def ask(peer: Peer) -> None:
    request = urllib.request.Request(f"http://{peer.admin}/policy/reload", method="POST")
    urllib.request.urlopen(request, timeout=30).read()


def watch(address: str, wanted: str, limit: float = 10.0) -> tuple[float, float] | None:
    """When the first answer of the new script came and when the last of an old one, each on a connection
    of its own, in milliseconds from now; None if the new one never came. It has come to all workers when
    a hundred answers in a row are new."""
    begin = time.monotonic()
    first, last, row = None, 0.0, 0
    while row < 100:
        now = time.monotonic() - begin
        if now > limit:
            return None
        try:
            _, headers, _ = peers.get(address, "/", {}, timeout=2)
        except (OSError, http.client.HTTPException):
            continue
        done = time.monotonic() - begin
        if headers.get("x-policy") == wanted:
            first, row = first if first is not None else done, row + 1
        else:
            last, row = done, 0
    return first * 1e3, last * 1e3


def live(opts, folder: Path) -> tuple[dict, str]:
    changes = 20 if opts.full else 5
    layout = peers.layouts()["shared"]
    rows, said = [], []
    with server(folder, layout) as upstream:
        for one in live_gateways():
            if one.peer.missing():
                continue
            with running(one.peer, upstream, folder, layout):
                row = change(one, layout, changes, folder)
            rows.append(row)
            said.append(f"{row[0]} {row[3]} ms, {row[7]} failed")
    columns = [
        "", "changes", "first new answer ms, median", "all workers ms, median", "largest", "not seen in 10 s", "requests meanwhile",
        "failed", "private MiB before", "after",
    ]
    note = (
        "From the change to the last answer of the old script, as clients with new connections see it, under full load of 64 "
        "kept connections, which the watching shares with the load. Envoy's Lua cannot be changed without a control plane or a restart."
    )
    return table("A changed script goes live", columns, rows, note), "live on all workers: " + "; ".join(said)


def change(one: Live, layout: peers.Layout, changes: int, folder: Path) -> list:
    peer = one.peer
    before = cpu.memory_kib(peer.pid)["private_kib"]
    wrk = load.spawn(peer, Load(headers=RISKY), layout, 600, folder)
    time.sleep(1)
    seen = []
    for version in range(1, changes + 1):
        one.write(peer, version)
        # Beside the watching, which must not wait until the gateway says that it is done.
        asking = threading.Thread(target=one.apply, args=(peer,))
        asking.start()
        seen.append(watch(peer.address, f"v{version}"))
        asking.join()
    answer = load.finish(wrk)
    after = cpu.memory_kib(peer.pid)["private_kib"]
    firsts, lasts = ([pair[which] for pair in seen if pair] or [float("nan")] for which in (0, 1))
    say(f"{peer.name}: {median(lasts):.1f} ms, {answer.errors} failed of {answer.requests}")
    return [
        peer.title, changes, round(median(firsts), 1), round(median(lasts), 1), round(max(lasts), 1), seen.count(None),
        answer.requests, answer.errors, mib(before), mib(after),
    ]


def run(opts, folder: Path) -> dict:
    sizes, told = memory(opts, folder)
    changed, live_headline = live(opts, folder)
    # What other gateways lose when they are reloaded is what is asked; ours must lose nothing.
    failed = sum(row[7] for row in changed["rows"] if row[0].startswith("Tollgate"))
    return result(sizes, changed, failed=failed, **told | {"headline": f"{told['headline']}; {live_headline}"})


SPECIAL = (Special("scripts", "Many scripts, and changed ones", "What does a script hold, and when is a changed one live?", run),)
