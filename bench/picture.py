"""The picture of a result: CPU per request as multiples of nginx, as an SVG.

A dot is a median and its line the spread, on a logarithmic scale, because peers are far apart. The
two ticks of a case are its goals. Colours follow the reader's choice of light or dark.
"""

import html
import math

import goals

WIDTH, LEFT, RIGHT, TOP, ROW = 760, 150, 24, 62, 30
CASES = ["plain", "native10", "lua", "lua10", "key", "keylua", "identity"]
CASES += ["prompt16", "prompt256", "burst", "paced"]
GATEWAYS = ["silverback", "litellm", "portkey"]
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .small { font-size: 11px; fill: #57606a }
  .grid { stroke: #d0d7de } .floor { stroke: #24292f } .goal { stroke: #1a7f37; stroke-width: 2 }
  .g0 { fill: #0969da; stroke: #0969da } .g1 { fill: #bc4c00; stroke: #bc4c00 }
  .g2 { fill: #8250df; stroke: #8250df } .g3 { fill: #57606a; stroke: #57606a }
  .back { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 }
    .grid { stroke: #3d444d } .floor { stroke: #e6edf3 } .goal { stroke: #3fb950 }
    .g0 { fill: #58a6ff; stroke: #58a6ff } .g1 { fill: #f0883e; stroke: #f0883e }
    .g2 { fill: #bc8cff; stroke: #bc8cff } .g3 { fill: #9198a1; stroke: #9198a1 }
    .back { fill: #0d1117 }
  }
"""


def draw(rows):
    """The SVG, of the cases of CPU that were measured."""
    by_case = {row.case: row for row in rows if any(row.compared.values())}
    shown = [by_case[case] for case in CASES if case in by_case]
    others = {name for row in shown for name, seen in row.compared.items() if seen}
    order = GATEWAYS + sorted(others - set(GATEWAYS))
    names = [name for name in order if name in others]
    largest = max((max(row.compared[name]) for row in shown for name in names_of(row)), default=4)
    smallest = min((min(row.compared[name]) for row in shown for name in names_of(row)), default=1)
    left = min(smallest * 0.9, 0.8)
    decades = math.log10(max(largest * 1.2, 4) / left)

    def at(ratio):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(ratio / left) / decades

    height = TOP + ROW * len(shown) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>CPU per request, as multiples of nginx proxy_pass</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        *legend(names),
        *scale(at, smallest, largest, height),
    ]
    for number, row in enumerate(shown):
        parts += line_of(row, names, at, TOP + ROW * number + ROW // 2)
    return "\n".join([*parts, "</svg>"]) + "\n"


def names_of(row):
    return [name for name, seen in row.compared.items() if seen]


def legend(names):
    parts = [text(12, 22, "CPU per request, nginx = 1")]
    x = LEFT + 80
    for number, name in enumerate(names):
        parts.append(f'<circle class="g{min(number, 3)}" cx="{x}" cy="18" r="5"/>')
        parts.append(text(x + 10, 22, name))
        x += 28 + 8 * len(name)
    parts.append(f'<path class="goal" d="M{x} 11v14M{x + 6} 11v14"/>')
    return [*parts, text(x + 14, 22, "goals")]


def scale(at, smallest, largest, height):
    parts = []
    for tick in (0.2, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000):
        if tick < smallest * 0.9 or tick > largest * 1.2 and tick > 3:
            continue
        if largest > 20 and tick in (0.7, 1.5, 3):
            continue
        kind = "floor" if tick == 1 else "grid"
        x = at(tick)
        parts.append(f'<path class="{kind}" d="M{x:.1f} {TOP - 8}V{height - 8}"/>')
        parts.append(text(x, TOP - 14, f"{tick:g}", "small", "middle"))
    return parts


def line_of(row, names, at, y):
    """A case: its name, its goals, and a dot for each gateway."""
    parts = [text(12, y + 4, row.case)]
    for goal in goals.GOALS:
        if goal.case == row.case:
            for value in (goal.must, goal.aim):
                parts.append(f'<path class="goal" d="M{at(value):.1f} {y - 9}v18"/>')
    for number, name in enumerate(names):
        if not row.compared.get(name):
            continue
        kind, (low, high) = f"g{min(number, 3)}", row.spread(name)
        middle = row.middle(name)
        parts.append(f'<path class="{kind}" d="M{at(low):.1f} {y}H{at(high):.1f}"/>')
        parts.append(f'<circle class="{kind}" cx="{at(middle):.1f}" cy="{y}" r="5">')
        parts.append(f"<title>{html.escape(f'{name}, {row.case}: {middle:.2f}')}</title></circle>")
    return parts


def text(x, y, words, kind="", anchor="start"):
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y}" text-anchor="{anchor}"{of_kind}>{html.escape(words)}</text>'
