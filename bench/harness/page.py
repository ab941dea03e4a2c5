"""The page that people read: who is ahead, by how much, where we lose; then every scenario with plot and table."""

from collections.abc import Iterable

from . import plot
from .scenarios import EVERY
from .special import SPECIAL

ORDER = [one.name for one in (*EVERY, *SPECIAL)]
QUICK = [one.name for one in (*EVERY, *SPECIAL) if one.quick is not None]
# Scenarios in which plain nginx does the work of the others; in the rest it is only a measure.
PLAIN = ("plain", "plain-shared", "bodies", "active", "latency")
# How many lines of a list of where we lose.
WORST = 12


def text(value: dict | None, digits: int, spread: bool = True) -> str:
    """A median with its quartiles."""
    if value is None:
        return ""
    middle = f"{value['median']:.{digits}f}"
    return f"{middle} ({value['low']:.{digits}f}–{value['high']:.{digits}f})" if spread else middle


def table(columns: list[str], rows: Iterable[list]) -> list[str]:
    marks = "|".join(["---", *["--:"] * (len(columns) - 1)])
    return [f"| {' | '.join(columns)} |", f"|{marks}|", *(f"| {' | '.join(map(str, row))} |" for row in rows), ""]


def rivals(part: dict, row: dict, what: str = "cpu_us_per_request") -> list[tuple[str, float]]:
    """Who does the same work as this row, and our CPU per request (or another figure) as a share of theirs, the
    largest first. Each gateway's plain proxying is no rival of one that runs a policy."""
    group = row.get("group", "")
    works = "plain" if part["scenario"] in PLAIN and row["peer"] in ("tollgate",) else "policy"
    found = []
    for other in part["rows"]:
        if other["case"] != row["case"] or other["peer"].startswith("tollgate") or other["peer"] == "hyper" or other.get("group", "") != group:
            continue
        does = "plain" if other["peer"] in ("nginx", "haproxy", "envoy", "pingora", "caddy") else "policy"
        if part["scenario"].startswith("routes"):
            does = works
        if part["scenario"] == "chain" and row["peer"] != other["peer"].replace("envoy", "tollgate"):
            continue
        if (does == works or part["scenario"] == "chain") and other[what] and row[what] and other[what]["median"]:
            found.append((other["title"], row[what]["median"] / other[what]["median"]))
    return sorted(found, key=lambda one: -one[1])


def summary(parts: list[dict]) -> list[str]:
    """One line for each of our rows: the ratios, who is ahead of us and who is behind; then where we lose."""
    rows, lost, slower = [], [], []
    for part in parts:
        if part["kind"] != "rounds":
            continue
        for row in part["rows"]:
            if not row["peer"].startswith("tollgate") or not row["cpu_us_per_request"]:
                continue
            what = f"{part['title']}{': ' + row['case'] if row['case'] else ''}"
            others = rivals(part, row)
            ahead = [f"{name} ({ratio:.2f})" for name, ratio in others if ratio > 1.03]
            behind = [f"{name} ({ratio:.2f})" for name, ratio in others if ratio < 0.97]
            equal = [name for name, ratio in others if 0.97 <= ratio <= 1.03]
            rows.append([
                what, row["title"].removeprefix("Tollgate").strip(" ,+") or "plain", text(row["to_nginx"], 2, False),
                text(row["to_hyper"], 2, False), ", ".join(behind), ", ".join(equal), ", ".join(ahead),
            ])
            lost += [(ratio, f"{what}, {row['title']}: {ratio:.2f} times the CPU of {name}") for name, ratio in others if ratio > 1.03]
            slower += [
                (ratio, f"{what}, {row['title']}: {row['p99_ms']['median']:.2f} ms, {ratio:.2f} times that of {name}")
                for name, ratio in rivals(part, row, "p99_ms") if ratio > 1.1
            ]
    lines = table(["", "Tollgate", "to nginx", "to bare hyper", "ahead of", "level with", "behind"], rows)
    more = [tuple(one) for part in parts for one in part.get("losses", [])]
    lines += worst("CPU a request", lost) + worst("99th percentile of latency, by more than a tenth", slower)
    lines += worst("start and memory", more)
    lines += ["**Beyond CPU**", ""]
    lines += [f"* {part['title']}: {part['headline']}" for part in parts if part["kind"] == "tables" and part["headline"]]
    return [*lines, ""]


def worst(what: str, lost: list[tuple[float, str]]) -> list[str]:
    """A list of what others do better, cut to its worst."""
    if not lost:
        return [f"**Where we lose**, {what}: nowhere in this run.", ""]
    listed = [f"* {line}" for _, line in sorted(lost, key=lambda one: -one[0])[:WORST]]
    left = [f"* and {len(lost) - WORST} more, by less"] if len(lost) > WORST else []
    return [f"**Where we lose**, {what}, the worst first:", "", *listed, *left, ""]


def selection(parts: list[dict]) -> str:
    """What was run, in one sentence, and what was not, in another."""
    modes = {part["settings"]["mode"] for part in parts} - {None}
    took = sum(part["took_s"] for part in parts) / 60
    run = {"quick": "A quick run (`bench/run`)", "full": "A full run (`bench/run --full`)"}.get("".join(modes), "Single scenarios")
    said = f"{run}: {len(parts)} of {len(ORDER)} scenarios, in {took:.0f} minutes."
    missing = [name for name in ORDER if name not in {part["scenario"] for part in parts}]
    if modes == {"quick"}:
        of_it = [name for name in missing if name in QUICK]
        said += f" Not run, though a quick run has them: {', '.join(of_it)}." if of_it else ""
        missing = [name for name in missing if name not in QUICK]
        return said + (f" Only in a full run: {', '.join(missing)}, and what each section names." if missing else "")
    return said + (f" Not run: {', '.join(missing)}." if missing else "")


def how(part: dict) -> str:
    """How many rounds, and how long: they may differ from part to part."""
    least = part["settings"]["seconds"]
    lengths = [max(least, one["seconds"]) for one in part["loads"]]
    length = f"{min(lengths)} s" if min(lengths) == max(lengths) else f"{min(lengths)} to {max(lengths)} s"
    return f"{max(row['rounds'] for row in part['rows'])} rounds of {length}."


def rounds_section(part: dict) -> tuple[list[str], str]:
    """Table and plot of a scenario that was measured in rounds."""
    cases = list(dict.fromkeys(row["case"] for row in part["rows"]))
    fixed = part["scenario"] == "latency"
    columns = ["peer"] + (["case"] if len(cases) > 1 else []) + [
        "CPU µs a request", "to nginx", "to bare hyper", "to nginx + LuaJIT", "requests/s", "p50 ms", "p99 ms"]
    columns += ["p99.9 ms"] if fixed else []
    columns += ["private MiB idle", "loaded", "RSS", "failed", "rounds (dropped)"]
    rows = []
    for row in part["rows"]:
        loaded = row["memory_loaded"]
        title = f"**{row['title']}**" if row["peer"].startswith("tollgate") else row["title"]
        rows.append([
            title, *([row["case"]] if len(cases) > 1 else []), text(row["cpu_us_per_request"], 1), text(row["to_nginx"], 2),
            text(row["to_hyper"], 2), text(row["to_nginx-lua"], 2), text(row["requests_per_second"], 0, False),
            text(row["p50_ms"], 2, False), text(row["p99_ms"], 2, False), *([text(row["p999_ms"], 2, False)] if fixed else []),
            f"{row['memory_idle']['private_kib'] / 1024:.1f}", f"{loaded['private_kib'] / 1024:.1f}", f"{loaded['rss_kib'] / 1024:.1f}",
            row["errors"], f"{row['rounds']} ({row['dropped']})",
        ])
    if fixed:
        key, unit = "p99_ms", "99th percentile in ms at a fixed rate"
    elif any(row["to_nginx"] for row in part["rows"]):
        key, unit = "to_nginx", "CPU a request, as a ratio to nginx in the same round"
    else:
        key, unit = "cpu_us_per_request", "µs of CPU a request"
    groups = [
        (case, [(row["peer"], row["title"], row[key]) for row in part["rows"] if row["case"] == case and row[key]]) for case in cases
    ]
    return table(columns, rows), plot.bars(part["title"], unit, groups)


def tables_section(part: dict) -> tuple[list[str], str | None]:
    """Tables, and the plot if there are points."""
    lines = []
    for one in part["tables"]:
        if len(part["tables"]) > 1:
            lines += [f"**{one['title']}**", ""]
        lines += table(one["columns"], one["rows"])
        lines += [one["note"], ""] if one["note"] else []
    return lines, plot.lines(part["title"], part["axes"], part["series"]) if part.get("series") else None


def section(part: dict) -> tuple[list[str], str | None]:
    body, svg = rounds_section(part) if part["kind"] == "rounds" else tables_section(part)
    lines = [f"## {part['title']}", f"{part['asks']}", ""]
    if svg:
        lines += [f"![{part['title']}](results/{part['scenario']}.svg)", ""]
    lines += body
    if part["kind"] == "rounds":
        only_full = f" Only in a full run: {', '.join(part['only_full'])}." if part["only_full"] else ""
        lines += [how(part) + only_full, ""]
    if part.get("left_out"):
        lines += ["Left out: " + "; ".join(f"{name} ({why})" for name, why in part["left_out"].items()) + ".", ""]
    return lines, svg


def make(parts: list[dict], faults: list[str]) -> tuple[str, dict[str, str]]:
    """The page, and the plots by their files' names."""
    parts = sorted(parts, key=lambda part: ORDER.index(part["scenario"]))
    first, plots = parts[0], {}
    box, dropped = first["machine"], sum(row["dropped"] for part in parts for row in part.get("rows", []))
    kept = sum(row["rounds"] for part in parts for row in part.get("rows", []))
    changed = " with changes" if box["changed"] else ""
    built = "by `make pgo`" if box["binary"]["pgo"] else "without a profile (`make build`)"
    lines = ["# Results of the load tests", "Written by `bench/publish`; do not edit. How it was measured: [README.md](README.md).", ""]
    if faults:
        lines += ["> **A draft. Not to be published:**", *(f"> * {fault}" for fault in faults), ""]
    lines += [
        f"{box['processor']}, {box['cores']} cores, {box['memory_gib']} GiB, Linux {box['kernel']}, {box['system']}; commit "
        f"{box['commit']}{changed}, built {built}; {min(part['at'] for part in parts)} to {max(part['at'] for part in parts)[11:]}. "
        f"{kept} rounds counted, {dropped} dropped as noisy.",
        "",
        selection(parts),
        "",
        ", ".join(f"{name} {version}" for name, version in first["versions"].items()) + ".",
        "",
        "CPU a request is the kernel's account of the whole process group over the requests answered. Ratios are taken round by "
        "round; median, and the middle half of the rounds in parentheses. In the first table, who is ahead and behind: Tollgate's CPU "
        "as a share of the other's, so below 1 it needs less.",
        "",
        "## In a minute",
        *summary(parts),
    ]
    for part in parts:
        told, svg = section(part)
        lines += told
        if svg:
            plots[f"{part['scenario']}.svg"] = svg
    return "\n".join(lines).rstrip() + "\n", plots
