"""Every peer in every role: which program, with which configuration, doing what. Roles that several programs
can play are functions that give one Peer for each."""

import json

from .peers import BODY, FILES, SECRET, Peer
from .tools import BENCH, ROOT

TEXTS = BENCH / "peers"


def text(name: str) -> str:
    return (TEXTS / name).read_text()


# The programs.

def nginx(name: str, title: str, **more) -> Peer:
    return Peer(name, title, "nginx", "peers/nginx.conf", ["-c", "@CONFIG@"], **more)


def nginx_lua(name: str, title: str, inserts: dict[str, str], **more) -> Peer:
    http = 'lua_package_path "/usr/share/lua/5.1/?.lua;;";'
    inserts = {"MODULES": text("nginx/lua-modules.conf"), "HTTP": http, **inserts}
    return nginx(name, title, inserts=inserts, needs_lua_module=True, **more)


def haproxy(name: str, title: str, policy: str = "", scripts: tuple[str, ...] = (), **more) -> Peer:
    inserts = {
        "GLOBAL": "\n    ".join(("lua-prepend-path @PEERS@/lua/?.lua", *(f"lua-load-per-thread {one}" for one in scripts))),
        "POLICY": policy,
    }
    return Peer(name, title, "haproxy", "peers/haproxy.cfg", ["-f", "@CONFIG@"], inserts=inserts, **more)


def caddy(name: str, title: str, **more) -> Peer:
    command = ["run", "--adapter", "caddyfile", "--config", "@CONFIG@"]
    return Peer(name, title, "caddy", "peers/Caddyfile", command, environment={"GOMAXPROCS": "@WORKERS@"}, **more)


def envoy(name: str, title: str, **more) -> Peer:
    command = ["-c", "@CONFIG@", "--concurrency", "@WORKERS@", "--disable-hot-restart", "-l", "critical"]
    return Peer(name, title, "envoy", "peers/envoy.yaml", command, **more)


def hyper(**more) -> Peer:
    command = ["@LISTEN@", "@UPSTREAM@", "@WORKERS@"]
    return Peer("hyper", "bare hyper", "hyper-proxy", None, command, expects=plain, yardstick="hyper", **more)


def pingora(name: str, title: str, *words: str, **more) -> Peer:
    return Peer(name, title, "pingora-proxy", None, ["@LISTEN@", "@UPSTREAM@", "@WORKERS@", *words], **more)


def tollgate(
    name: str, title: str, filters: dict | None = None, routes: list | None = None, files: dict[str, str] | None = None, **more
) -> Peer:
    """A gateway with these filters in this order on its one route, or with these routes."""
    filters = filters or {}
    routes = routes or [{"filters": list(filters), "forward": {"upstream": "up"}}]

    def policy(values: dict[str, str]) -> str:
        every = {
            "version": 1,
            "listeners": [{"address": values["LISTEN"]}],
            "admin": {"address": values["ADMIN"]},
            "limits": {"connections": FILES, "idle_timeout": "10m"},
            "upstreams": {"up": {"endpoints": [values["UPSTREAM"]], "idle_connections": 10000, "idle_timeout": "10m"}},
            **({"filters": filters} if filters else {}),
        }
        # JSON is YAML; a line for each route, and the rest to be read by people.
        lines = ",\n".join("  " + json.dumps(route) for route in routes)
        said = json.dumps(every, indent=1)[:-2] + f',\n "routes": [\n{lines}\n ]\n}}\n'
        for key, value in values.items():
            said = said.replace(f"@{key}@", value)
        return said

    cache = BENCH / "out/cache"
    command = ["run", "@CONFIG@", "--workers", "@WORKERS@", "--access-log", "off", "--cache-dir", str(cache), "--log", "warn"]
    return Peer(
        name, title, "tollgate", None, command, content=policy, beside=files or {},
        environment={"TOLLGATE_STATE_DIR": "@DIR@/@NAME@-state"},
        compiles=any(kind in one for one in filters.values() for kind in ("wasm", "lua", "starlark")), **more,
    )


# What they must do before they count.

def plain(peer: Peer) -> None:
    status, _, body = peer.get("/a/b?c", {"user-agent": "check"})
    assert (status, body) == (200, BODY.encode()), f"{peer.name}: {status}, {len(body)} bytes"


def edits(count: int = 1):
    """The header policy, `count` times: each but the first with a number at its names."""
    def check(peer: Peer) -> None:
        plain(peer)
        _, headers, _ = peer.get("/a/b?c", {"user-agent": "check"})
        seen, policy = headers.get("x-saw-edge"), headers.get("x-policy")
        assert (seen, policy) == ("check /a/b", "edge"), f"{peer.name}: the header policy gave {seen!r}, {policy!r}"
        for number in range(2, count + 1):
            assert headers.get(f"x-policy-{number}") == "edge", f"{peer.name}: filter {number} did not run"
    return check


def risk(peer: Peer) -> None:
    status, headers, _ = peer.get("/a/b", {"user-agent": "curl/8", "x-country": "FR"})
    assert (status, headers.get("x-saw-risk")) == (200, "10"), f"{peer.name}: {status}, {headers.get('x-saw-risk')!r}"
    status, headers, _ = peer.get("/admin/x.php", {"user-agent": "curl/8"})
    assert (status, headers.get("x-risk-score")) == (403, "75"), f"{peer.name}: {status}, {headers}"


def redacts(peer: Peer) -> None:
    status, _, body = peer.get("/files/text", {})
    assert status == 200 and b"[redacted]" in body and SECRET.encode() not in body, f"{peer.name}: {status}, not redacted"


# The roles.

def plain_peers(connections: int = 4096) -> list[Peer]:
    """Plain proxying. nginx sets room for its connections aside when it starts, so it is told how many."""
    return [
        hyper(),
        nginx("nginx", "nginx", inserts={"CONNECTIONS": str(connections)}, expects=plain, yardstick="nginx"),
        haproxy("haproxy", "HAProxy", expects=plain),
        tollgate("tollgate", "Tollgate", expects=plain),
        pingora("pingora", "Pingora", expects=plain),
        envoy("envoy", "Envoy", expects=plain),
        caddy("caddy", "Caddy", expects=plain),
    ]


def yardsticks() -> list[Peer]:
    """Plain bare hyper and nginx, against which all that does more is set."""
    return plain_peers()[:2]


def headers_filter(number: int = 1) -> dict:
    suffix = "" if number == 1 else f"-{number}"
    return {"wasm": {"module": "@DIST@/headers.wasm", "body": "none", "config": {
        "request": {"set": {f"x-edge{suffix}": "%{header:user-agent} %{path}"}},
        "response": {"set": {f"x-policy{suffix}": "edge"}},
    }}}


def tollgate_chain(count: int, name: str | None = None, title: str | None = None) -> Peer:
    filters = {f"h{number}": headers_filter(number) for number in range(1, count + 1)}
    return tollgate(name or f"tollgate-{count}", title or f"Tollgate, {count} Wasm", filters, expects=edits(count))


def envoy_wasm_filter(module: str, name: str, config: dict) -> str:
    """A Wasm filter on V8. Filters of one module share a VM, as in the gateway."""
    return "- " + json.dumps({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name,
                "vm_config": {
                    "vm_id": "bench", "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": f"@DIST@/{module}.wasm"}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(config),
                },
            },
        },
    }) + "\n                  "


def envoy_chain(count: int, name: str | None = None, title: str | None = None) -> Peer:
    filters = "".join(
        envoy_wasm_filter("headers", f"h{number}", headers_filter(number)["wasm"]["config"])
        for number in range(1, count + 1)
    )
    return envoy(
        name or f"envoy-{count}", title or f"Envoy, {count} Wasm (V8)", inserts={"HTTP_FILTERS": filters},
        expects=edits(count), compiles=True,
    )


def envoy_lua_filter(script: str) -> str:
    return "- " + json.dumps({
        "name": "lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": script},
        },
    })


def header_peers() -> list[Peer]:
    return [
        *yardsticks(),
        nginx("nginx-native", "nginx, own directives", inserts={"POLICY": text("nginx/headers.conf")}, expects=edits()),
        haproxy("haproxy-native", "HAProxy, own rules", text("haproxy/headers.cfg"), expects=edits()),
        envoy("envoy-native", "Envoy, own route options", inserts={"ROUTE_HEADERS": text("envoy/headers.route.yaml").strip()}, expects=edits()),
        pingora("pingora-rust", "Pingora, in Rust", "headers", expects=edits()),
        caddy("caddy-native", "Caddy, own directives", inserts={
            "PROXY": text("caddy/headers.proxy").strip(), "POLICY": "header X-Policy edge"}, expects=edits()),
        nginx_lua("nginx-lua", "nginx + LuaJIT", {"POLICY": text("nginx/headers.lua.conf")}, expects=edits(), yardstick="nginx-lua"),
        haproxy("haproxy-lua", "HAProxy + Lua", text("haproxy/headers.lua.cfg"), ("@PEERS@/lua/haproxy-headers.lua",), expects=edits()),
        envoy("envoy-lua", "Envoy + LuaJIT", inserts={"HTTP_FILTERS": envoy_lua_filter(text("lua/envoy-headers.lua"))}, expects=edits()),
        envoy_chain(1, "envoy-wasm", "Envoy + Wasm (V8), the same module"),
        tollgate_chain(1, "tollgate-wasm", "Tollgate + Wasm (Rust filter)"),
        tollgate("tollgate-lua", "Tollgate + Lua", {"edge": {"lua": {"file": "@PEERS@/lua/tollgate-headers.lua"}}}, expects=edits()),
    ]


def chain_peers() -> list[Peer]:
    counts = (1, 2, 4, 8, 16)
    return [
        *yardsticks(),
        tollgate("tollgate", "Tollgate, none", expects=plain),
        *(tollgate_chain(count) for count in counts),
        envoy("envoy", "Envoy, none", expects=plain),
        *(envoy_chain(count) for count in counts),
    ]


RISK = {
    "deny_above": 60,
    "agents": {"sqlmap": 60, "nikto": 60, "masscan": 60, "curl": 5},
    "countries": {"DE": 1, "US": 1, "other": 5},
    "networks": {"192.0.2.0/24": 30, "10.0.0.0/8": -10},
    "rate": {"per_second": 50, "score": 30},
}
# Starlark and Rust have regular expressions where Lua has patterns.
REGEX_PATHS = {r"^/admin": 40, r"^/api/v\d+/export": 20, r"\.php$": 30, r"/\.git/": 50}


def risk_policy() -> dict:
    """The script and the configuration of policies/risk.yaml."""
    paths = {"^/admin": 40, "^/api/v%d+/export": 20, "%.php$": 30, "/%.git/": 50}
    return {"lua": {
        "file": str(ROOT / "policies/lua/risk.lua"), "memory": "1MiB", "budget": "2ms", "config": {**RISK, "paths": paths},
    }}


def risk_in_starlark() -> dict:
    """The script and the configuration of policies/risk-starlark.yaml."""
    config = {**RISK, "paths": REGEX_PATHS}
    return {"starlark": {"file": str(ROOT / "policies/starlark/risk.star"), "memory": "1MiB", "config": config}}


def risk_elsewhere() -> list[Peer]:
    """The same score in Starlark, and in Rust as policies/risk-rust.yaml has it."""
    module = ROOT / "filters/dist/risk.wasm"
    rust = {"wasm": {"module": str(module), "budget": "2ms", "config": {**RISK, "paths": REGEX_PATHS}}}
    return [
        tollgate("tollgate-starlark", "Tollgate + Starlark", {"risk": risk_in_starlark()}, expects=risk),
        tollgate("tollgate-rust", "Tollgate + Wasm (Rust filter)", {"risk": rust}, expects=risk, needs=module),
    ]


def risk_peers() -> list[Peer]:
    return [
        *yardsticks(),
        nginx_lua("nginx-lua", "nginx + LuaJIT", {
            "HTTP": text("nginx/risk.http.conf"), "POLICY": text("nginx/risk.lua.conf")}, expects=risk, yardstick="nginx-lua"),
        haproxy("haproxy-lua", "HAProxy + Lua", text("haproxy/risk.lua.cfg"), ("@PEERS@/lua/haproxy-risk.lua",), expects=risk),
        envoy("envoy-lua", "Envoy + LuaJIT", inserts={"HTTP_FILTERS": envoy_lua_filter(text("lua/envoy-risk.lua"))}, expects=risk),
        tollgate("tollgate-lua", "Tollgate + Lua", {"risk": risk_policy()}, expects=risk),
        *risk_elsewhere(),
    ]


def redact_peers() -> list[Peer]:
    config = {"patterns": [{"literal": SECRET}]}
    filters = {"redact": {"wasm": {"module": "@DIST@/redact.wasm", "request_body": "none", "config": config}}}
    return [
        *yardsticks(),
        nginx_lua("nginx-lua", "nginx + LuaJIT", {"POLICY": text("nginx/redact.lua.conf")}, expects=redacts, yardstick="nginx-lua"),
        envoy("envoy-wasm", "Envoy + Wasm (V8), the same module", inserts={
            "HTTP_FILTERS": envoy_wasm_filter("redact", "redact", config)}, expects=redacts, compiles=True),
        tollgate("tollgate-wasm", "Tollgate + Wasm", filters, expects=redacts),
    ]


def limit_peers() -> list[Peer]:
    limit = {"rate_limit": {"rate": "1000000/second", "burst": 1000000, "key": {"header": "x-key"}, "keys": 2000000}}
    return [
        *yardsticks(),
        nginx("nginx-limit", "nginx, limit_req", inserts={
            "HTTP": text("nginx/limit.http.conf"), "POLICY": text("nginx/limit.conf")}, expects=plain),
        haproxy("haproxy-limit", "HAProxy, stick table", text("haproxy/limit.cfg"), expects=plain),
        envoy("envoy-limit", "Envoy, one bucket for all", inserts={"HTTP_FILTERS": text("envoy/limit.yaml").strip()}, expects=plain),
        tollgate("tollgate-limit", "Tollgate, rate_limit", {"limit": limit}, expects=plain),
    ]


def host(index: int) -> str:
    return f"h{index}.shop.test"


def route_peers(count: int) -> list[Peer]:
    """A route for each of many hosts, by what each program has for it; all lead to the same upstream."""
    def routed(peer: Peer) -> None:
        status, _, _ = peer.get("/", {"host": host(count - 1)})
        assert status == 200, f"{peer.name}: {status}"

    hosts = [host(index) for index in range(count)]
    nginx_map = "map_hash_max_size 1048576;\n    map_hash_bucket_size 128;\n    map $host $chosen {\n        default up;\n"
    nginx_map += "".join(f"        {name} up;\n" for name in hosts) + "    }"
    virtual = "\n                    ".join(
        f'- {{ name: "{index}", domains: ["{name}"], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: up }} }}] }}'
        for index, name in enumerate(hosts)
    )
    routes = [{"match": {"host": name}, "forward": {"upstream": "up"}} for name in hosts]
    routes.append({"forward": {"upstream": "up"}})  # for the harness, which asks by address
    group = f"{count:,} routes"
    return [
        nginx("nginx", f"nginx, map of {count:,}", inserts={"HTTP": nginx_map}, expects=routed, yardstick="nginx", group=group),
        haproxy("haproxy", f"HAProxy, map of {count:,}", text("haproxy/routes.cfg"), beside={
            ".map": "".join(f"{name} up\n" for name in hosts)}, expects=routed, group=group),
        envoy("envoy", f"Envoy, {count:,} virtual hosts", inserts={"HOSTS": virtual}, expects=routed, group=group),
        tollgate("tollgate", f"Tollgate, {count:,} routes", routes=routes, expects=routed, group=group),
    ]
