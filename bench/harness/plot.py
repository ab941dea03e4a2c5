"""Plots as SVG, by hand: bars with their quartiles, and lines. A page of Markdown shows them anywhere."""

from xml.sax.saxutils import escape

OURS, OTHERS, YARDSTICK, INK, GRID = "#c2410c", "#64748b", "#cbd5e1", "#1e293b", "#e2e8f0"
LEFT, WIDTH, BAR, GAP = 300, 760, 18, 6


def frame(height: float, title: str, inner: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" font-size="12" '
        f'fill="{INK}">\n<title>{escape(title)}</title>\n<rect width="100%" height="100%" fill="#ffffff"/>'
    )
    return "\n".join([head, *inner, "</svg>"]) + "\n"


def colour(name: str) -> str:
    return OURS if name.startswith("tollgate") else YARDSTICK if name in ("hyper", "nginx") else OTHERS


def bars(title: str, unit: str, groups: list[tuple[str, list[tuple[str, str, dict]]]]) -> str:
    """Horizontal bars. A group has a label and, for each bar, the peer's name, its title and median, low, high."""
    most = max((value["high"] for _, rows in groups for *_, value in rows), default=1.0) * 1.08 or 1.0
    scale = (WIDTH - LEFT - 60) / most
    inner, y = [f'<text x="8" y="20" font-size="14" font-weight="bold">{escape(title)}</text>'], 34.0
    for label, rows in groups:
        if label:
            inner.append(f'<text x="8" y="{y + 13:.0f}" font-weight="bold">{escape(label)}</text>')
            y += 22
        for name, text, value in rows:
            middle, length = y + BAR / 2, value["median"] * scale
            inner += [
                f'<text x="{LEFT - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(text)}</text>',
                f'<rect x="{LEFT}" y="{y:.1f}" width="{length:.1f}" height="{BAR}" fill="{colour(name)}"/>',
                f'<path d="M{LEFT + value["low"] * scale:.1f} {middle:.1f}H{LEFT + value["high"] * scale:.1f}" stroke="{INK}" stroke-width="1.5"/>',
                f'<text x="{LEFT + max(length, value["high"] * scale) + 6:.1f}" y="{middle + 4:.1f}">{number(value["median"])}</text>',
            ]
            y += BAR + GAP
        y += 8
    inner.append(f'<text x="{LEFT}" y="{y + 10:.0f}" fill="{OTHERS}">{escape(unit)}; the line spans the middle half of the rounds</text>')
    return frame(y + 22, title, inner)


def lines(title: str, axes: list[str], series: list[dict]) -> str:
    """Lines from zero, one for each series."""
    height, bottom, left = 260, 220, 60
    right = max(x for one in series for x, _ in one["points"]) or 1
    top = max(y for one in series for _, y in one["points"]) * 1.15 or 1
    def place(x: float, y: float) -> str:
        return f"{left + x / right * (WIDTH - left - 30):.1f} {bottom - y / top * 170:.1f}"
    inner = [f'<text x="8" y="20" font-size="14" font-weight="bold">{escape(title)}</text>']
    for part in range(5):
        y = top * part / 4
        inner.append(f'<path d="M{place(0, y)}L{place(right, y)}" stroke="{GRID}"/>')
        inner.append(f'<text x="{left - 6}" y="{bottom - y / top * 170 + 4:.1f}" text-anchor="end">{number(y)}</text>')
    for one in series:
        inner.append(f'<path d="M{"L".join(place(x, y) for x, y in one["points"])}" fill="none" stroke="{OURS}" stroke-width="2"/>')
    inner.append(f'<text x="{WIDTH - 30}" y="{bottom + 18}" text-anchor="end">{right:.0f} {escape(axes[0])}</text>')
    inner.append(f'<text x="{left}" y="{bottom + 18}">0; {escape(", ".join(one["label"] for one in series))}</text>')
    return frame(height, title, inner)


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
