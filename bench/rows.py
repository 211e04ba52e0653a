"""One line of the result: the values of each gateway, and how they compare."""

import dataclasses
import statistics

BASE = "nginx"


@dataclasses.dataclass
class Row:
    """Raw values by gateway, oldest first; a value and those it is compared with are neighbours.

    `compared` holds ratios to the base, or with `differs` what is above it, in the row's unit.
    """

    case: str
    about: str
    unit: str
    values: dict
    compared: dict
    base: str = BASE
    differs: bool = False
    voided: int = 0
    windows: list = dataclasses.field(default_factory=list)

    def median(self, gateway):
        """Of its values; None where there are none."""
        return statistics.median(self.values[gateway]) if self.values.get(gateway) else None

    def middle(self, gateway):
        """The median of its comparisons; None where there are none."""
        return statistics.median(self.compared[gateway]) if self.compared.get(gateway) else None

    def spread(self, gateway):
        """The smallest and the largest of them."""
        return min(self.compared[gateway]), max(self.compared[gateway])


def paired(case, about, unit, values, base=BASE, differs=False):
    """A row of rounds, each with one value of every gateway."""
    compared = {}
    for gateway, ours in values.items():
        if gateway == base or base not in values:
            continue
        both = zip(values[base], ours)
        if differs:
            compared[gateway] = [mine - floor for floor, mine in both]
        else:
            compared[gateway] = [mine / floor for floor, mine in both if floor > 0]
    return Row(case, about, unit, values, compared, base, differs)


def scaled(row, case, about, unit, divisor):
    """The same row in another unit."""
    values = {name: [one / divisor for one in ones] for name, ones in row.values.items()}
    return Row(case, about, unit, values, row.compared, row.base, row.differs, row.voided)
