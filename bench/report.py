"""The tables of a result, for a terminal and for the documentation (both are Markdown)."""

import goals
import rig
import rows

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def whole(result):
    """Everything there is to say about a run."""
    parts = [main_table(result["rows"])]
    others = peers_table(result["rows"])
    parts += [others] if others else []
    parts.append("\n".join(costs(result) + added(result["rows"])))
    parts.append("\n".join(f"- {who}: {why}" for who, why in result["lost"].items()))
    parts += [f"{case} could not be measured: {why}" for case, why in result["failed"].items()]
    parts.append("\n".join(f"- {line}" for line in lines_of(result["machine"])))
    return "\n\n".join(part for part in parts if part)


def lines_of(machine):
    return [f"{name}: {value}" for name, value in machine.items()]


def main_table(found):
    """silverback beside nginx: medians; the spread is the smallest and the largest comparison."""
    head = ["case", "unit", "base", "silverback", "compared", "spread", "what"]
    table = [head, ["---", "---", "---:", "---:", "---:", "---:", "---"]]
    for row in found:
        base = number(row.median(row.base))
        about = row.about + (f" ({row.voided} windows void)" if row.voided else "")
        ours = number(row.median("silverback"))
        compared = how(row, "silverback")
        table.append([f"`{row.case}`", row.unit, base, ours, compared, spread(row), about])
    return aligned(table)


def peers_table(found):
    """Values of the peers and, in brackets, how they compare with nginx."""
    known = {name: None for row in found for name in row.compared}
    names = [name for name in known if name not in ("silverback", rows.BASE)]
    if not names:
        return ""
    table = [["case", "unit", "nginx", "silverback", *names]]
    table.append(["---", "---"] + ["---:"] * (len(names) + 2))
    for row in found:
        if not any(row.values.get(name) for name in names):
            continue
        cells = [f"`{row.case}`", row.unit, number(row.median("nginx"))]
        for name in ["silverback", *names]:
            cells.append(f"{number(row.median(name))} ({how(row, name)})")
        table.append(cells)
    return aligned(table)


def how(row, gateway):
    middle = row.middle(gateway)
    if middle is None:
        return "void" if row.voided else "-"
    return f"{middle:+.3f}" if row.differs else ratio(middle)


def spread(row):
    seen = row.compared.get("silverback", [])
    if not seen:
        return among(row.values.get("silverback", []))
    if len(seen) == 1:
        return "one"
    low, high = row.spread("silverback")
    return f"{low:+.3f}..{high:+.3f}" if row.differs else f"{ratio(low)}-{ratio(high)}"


def among(values):
    """The smallest and the largest of values that are compared with nothing."""
    return f"{number(min(values))}-{number(max(values))}" if len(values) > 1 else "-"


def ratio(value):
    """Nobody needs the places of a hundred."""
    places = 0 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:,.{places}f}"


def number(value):
    """With as many places as it takes to see something."""
    if value is None:
        return "-"
    places = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 3 if abs(value) < 1 else 2
    return f"{value:,.{places}f}"


def costs(result):
    """Whether the simulator was cheap enough to stand behind nginx."""
    found = []
    for case, (own, nginx) in result["rig"].items():
        enough = own < nginx
        verdict = "cheaper than nginx" if enough else "NOT cheaper than nginx: the case is void"
        found.append(f"- {case}: the simulator takes {own:.1f} us, nginx {nginx:.1f}: {verdict}")
    return found


def added(found):
    """What plugins add to a request, in microseconds of nginx's windows."""
    by_case = {row.case: row for row in found if row.compared.get("silverback")}
    lines = []
    pairs = ("lua", "plain"), ("lua10", "plain"), ("native10", "plain"), ("keylua", "key")
    for case, without in pairs:
        if case in by_case and without in by_case:
            here, there = by_case[case], by_case[without]
            more = here.middle("silverback") - there.middle("silverback")
            micros = more * (here.median("nginx") + there.median("nginx")) / 2
            lines.append(f"- {case} adds {micros:.1f} us to {without}")
    return lines


def goals_table(verdicts):
    table = [["goal", "seen", "must", "aim", "outcome"], ["---", "---:", "---:", "---:", "---"]]
    for one in verdicts:
        goal, unit = one.goal, f" {one.goal.unit}" if one.goal.unit else ""
        seen = "-" if one.seen is None else f"{one.seen:.2f}{unit}"
        fine = one.outcome in (goals.MET, goals.UNKNOWN)
        outcome = one.words() if fine else f"**{one.words()}**"
        table.append([goal.what, seen, f"{goal.must:g}{unit}", f"{goal.aim:g}{unit}", outcome])
    return aligned(table)


def aligned(table):
    """Columns of one width, so that it can be read as it is."""
    widths = [max(len(line[at]) for line in table) for at in range(len(table[0]))]
    lines = []
    for line in table:
        right = [cell.endswith(":") for cell in table[1]]
        cells = (
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(line, widths, right)
        )
        lines.append(("| " + " | ".join(cells)).rstrip() + " |")
    return "\n".join(lines)


def into(page, text):
    """Puts it between the markers of the page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise rig.Broken(f"{page} has no {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
