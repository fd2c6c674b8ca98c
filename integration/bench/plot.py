"""Bars and curves as SVG, on a logarithmic scale."""
import math

COLOURS = ["#999999", "#1b7837", "#c51b7d", "#f1a0c8", "#2166ac", "#92c5de"]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 960, 420, 60, 70, 60


def frame(title, low, high, body):
    """A plot with horizontal lines at 1, 2, 5, 10 … between the limits."""
    ticks = [m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    lines = [f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(t, low, high):.1f}" y2="{y(t, low, high):.1f}" stroke="#ddd"/>'
             f'<text x="{LEFT - 6}" y="{y(t, low, high) + 4:.1f}" text-anchor="end">{t:g}</text>' for t in ticks]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>', *lines, *body, "</svg>", ""])


def escape(text):
    """Text as XML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def y(value, low, high):
    """The height of a value on the logarithmic axis."""
    share = (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def limits(values):
    """The ends of an axis that shows these values."""
    values = [value for value in values if value > 0] or [1]
    return min(values) / 1.5, max(values) * 1.2


def legend(names):
    """A coloured square and a name for each series."""
    step = (WIDTH - LEFT) / max(len(names), 1)
    for i, name in enumerate(names):
        at = LEFT + i * step
        yield f'<rect x="{at:.0f}" y="32" width="12" height="12" fill="{COLOURS[i % len(COLOURS)]}"/>'
        yield f'<text x="{at + 17:.0f}" y="43">{escape(name)}</text>'


def bars(title, groups, names):
    """Groups of bars: the name of each, and pairs of a name of the legend and a value."""
    low, high = limits([value for _, pairs in groups for _, value in pairs])
    body, step = list(legend(names)), (WIDTH - LEFT - 10) / max(len(groups), 1)
    for i, (group, pairs) in enumerate(groups):
        start, width = LEFT + i * step + step * 0.1, step * 0.8 / max(len(pairs), 1)
        for k, (name, value) in enumerate(pairs):
            if value > 0:
                top = y(value, low, high)
                body.append(f'<rect x="{start + k * width:.1f}" y="{top:.1f}" width="{width * 0.9:.1f}" '
                            f'height="{HEIGHT - BOTTOM - top:.1f}" fill="{COLOURS[names.index(name)]}"/>')
        for n, word in enumerate(wrap(group)):
            body.append(f'<text x="{start + step * 0.4:.1f}" y="{HEIGHT - BOTTOM + 18 + 14 * n}" text-anchor="middle">{escape(word)}</text>')
    return frame(title, low, high, body)


def wrap(text, most=14):
    """Lines of a few words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def curves(title, series):
    """Lines through points; x is logarithmic, too."""
    low, high = limits([value for points in series.values() for _, value in points])
    counts = sorted({count for points in series.values() for count, _ in points}) or [1]
    span = math.log(counts[-1] / counts[0]) or 1
    x = lambda count: LEFT + 20 + math.log(count / counts[0]) / span * (WIDTH - LEFT - 50)
    body = list(legend(list(series)))
    for i, points in enumerate(series.values()):
        path = " ".join(f"{x(count):.1f},{y(value, low, high):.1f}" for count, value in points)
        body.append(f'<polyline points="{path}" fill="none" stroke-width="2" stroke="{COLOURS[i % len(COLOURS)]}"/>')
        body += [f'<circle cx="{x(count):.1f}" cy="{y(value, low, high):.1f}" r="3" fill="{COLOURS[i % len(COLOURS)]}"/>' for count, value in points]
    body += [f'<text x="{x(count):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{count}</text>' for count in counts]
    return frame(title, low, high, body)
