"""Bars by mask as SVG: one panel a group of cases, one bar a peer."""
from xml.sax.saxutils import escape

COLORS = {
    "heddle": "#c2410c", "heddle_det": "#fb923c", "fa4": "#1d4ed8", "fa4_varlen": "#60a5fa",
    "fa4_mask": "#93c5fd", "cudnn_flex": "#15803d", "flex": "#7e22ce", "flex_flash": "#c084fc",
    "sdpa_flash": "#0f766e", "sdpa_cudnn": "#65a30d", "sdpa_dense": "#737373",
    "varlen": "#0891b2",
}
BAR, GAP, HEIGHT, LEFT, LABELS = 9, 14, 220, 56, 96


def svg(panels, caption):
    """panels: title -> [(case, {peer: TFLOP/s})]."""
    parts, width, top = [], 480, 34
    for title, cases in panels.items():
        drawn, panel_width = _panel(title, cases, top)
        parts += drawn
        width, top = max(width, panel_width), top + HEIGHT + LABELS + 36
    peers = list(dict.fromkeys(p for cases in panels.values() for _, rates in cases for p in rates))
    width = max(width, LEFT + 100 * len(peers))
    for at, peer in enumerate(peers):
        x = LEFT + at * 100
        parts.append(f'<rect x="{x}" y="8" width="10" height="10" fill="{_color(peer)}"/>')
        parts.append(f'<text x="{x + 14}" y="17">{escape(peer)}</text>')
    parts.append(f'<text x="{LEFT}" y="{top}" fill="#555">{escape(caption)}</text>')
    size = f'width="{width}" height="{top + 14}" viewBox="0 0 {width} {top + 14}"'
    style = 'font-family="sans-serif" font-size="11"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>',
                      f'<rect width="{width}" height="{top + 14}" fill="white"/>', *parts,
                      "</svg>", ""])


def _color(peer):
    return COLORS.get(peer, "#a3a3a3")


def _panel(title, cases, top):
    """One group: its elements and how wide it is."""
    highest = max((rate for _, rates in cases for rate in rates.values()), default=1)
    step = next(s for s in (10, 20, 50, 100, 200, 500, 1000, 10**9) if highest / s <= 8)
    limit = max(step, -(-highest // step) * step)
    base = top + 20 + HEIGHT
    body, x = [], LEFT + GAP / 2
    for name, rates in cases:
        begin = x
        for peer, rate in rates.items():
            height = rate / limit * HEIGHT
            body.append(f'<rect x="{x:.1f}" y="{base - height:.1f}" width="{BAR}" '
                        f'height="{height:.1f}" fill="{_color(peer)}"><title>{escape(peer)}: '
                        f'{rate:.0f}</title></rect>')
            x += BAR
        x = max(x, begin + BAR)
        middle = (begin + x) / 2
        body.append(f'<text transform="translate({middle:.1f},{base + 12}) rotate(35)">'
                    f'{escape(name)}</text>')
        x += GAP
    head = [f'<text x="{LEFT}" y="{top + 8}" font-weight="bold">{escape(title)}: TFLOP/s of '
            'visible pairs, forward + backward</text>']
    for tick in range(int(limit // step) + 1):
        y = base - tick * step / limit * HEIGHT
        head.append(f'<line x1="{LEFT}" x2="{x:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        head.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick * step:g}'
                    '</text>')
    return head + body, int(x + 90)
