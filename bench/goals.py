"""What silverback wants to reach, and whether it did.

A goal is no test: figures depend on the machine and on who else works on it. `must` is what a
release should keep, `aim` what would be good.
"""

import dataclasses

MET, AIM_MISSED, MISSED, UNKNOWN = "met", "aim missed", "must missed", "not measured"


@dataclasses.dataclass(frozen=True)
class Goal:
    """`of` is what is looked at: `ratio` and `over` compare with the base, `value` does not."""

    case: str
    what: str
    of: str
    must: float
    aim: float
    unit: str = ""


GOALS = [
    Goal("plain", "CPU of a plain request, over nginx", "ratio", 1.25, 1.1),
    Goal("key", "CPU of a chat with key-auth, over nginx", "ratio", 1.8, 1.4),
    Goal("keylua", "the same with a Lua plugin, over nginx", "ratio", 2.1, 1.6),
    Goal("prompt16", "CPU of a chat of 16 KB, over nginx", "ratio", 1.8, 1.4),
    Goal("burst", "CPU of 100 events at once, over nginx", "ratio", 2.5, 1.5),
    Goal("paced", "CPU of 100 events, 2 ms apart, over nginx", "ratio", 1.3, 1.15),
    Goal("p50", "added median at 50 a second, above nginx's own", "over", 0.05, 0.03, "ms"),
    Goal("start", "start to first answer", "value", 50, 20, "ms"),
    Goal("idle", "memory after one request", "value", 15, 8, "MiB"),
    Goal("streams1k", "memory of one of 1,000 open streams", "value", 40, 20, "KiB"),
    Goal("streams10k", "memory of one of 10,000 open streams", "value", 40, 20, "KiB"),
    Goal("consumers", "CPU with 100,000 consumers, over one", "ratio", 1.1, 1.05),
    Goal("routes", "CPU with 10,000 Routes, over one", "ratio", 1.1, 1.05),
    Goal("tokens", "calls for a token, 1,000 first requests", "value", 3, 1, "calls"),
    Goal("growth", "memory after many requests, over before", "ratio", 1.05, 1.01),
]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A goal, what was seen (None: nothing), and what that means.

    It is unsure where `must` lies within the spread: another run may say otherwise.
    """

    goal: Goal
    seen: object
    outcome: str
    unsure: bool = False

    def words(self):
        return self.outcome + "?" * self.unsure


def verdicts(rows):
    by_case = {row.case: row for row in rows}
    return [verdict(goal, by_case.get(goal.case)) for goal in GOALS]


def verdict(goal, row):
    seen = None
    if row:
        seen = row.median("silverback") if goal.of == "value" else row.middle("silverback")
    if seen is None:
        return Verdict(goal, None, UNKNOWN)
    outcome = MISSED if seen > goal.must else AIM_MISSED if seen > goal.aim else MET
    own = row.values["silverback"]
    low, high = (min(own), max(own)) if goal.of == "value" else row.spread("silverback")
    return Verdict(goal, seen, outcome, unsure=low <= goal.must < high)


def lines(found):
    """One a goal, for people."""
    texts = []
    for one in found:
        goal, seen = one.goal, "-" if one.seen is None else f"{one.seen:.2f}"
        must, aim = f"{goal.must:g}", f"{goal.aim:g}"
        texts.append(
            f"{one.words():<12} {goal.case:<10} {seen:>7} {goal.unit:<5} must {must:<5} "
            f"aim {aim:<5} {goal.what}"
        )
    return texts
