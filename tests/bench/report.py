"""The table: what was measured, against what, and the goal of the design beside it."""

import dataclasses
import datetime


@dataclasses.dataclass
class Row:
    what: str
    measured: str
    against: str = ""
    ratio: str = ""
    goal: str = ""
    reached: bool | None = None

    def cells(self):
        verdict = {True: "reached", False: "**not reached**", None: ""}[self.reached]
        return [self.what, self.measured, self.against, self.ratio, self.goal, verdict]


def at_most(what, measured, limit, unit, against="", digits=1):
    """A row whose goal is a figure that must not be passed."""
    goal = f"≤ {limit:.{digits}f} {unit}"
    return Row(what, f"{measured:.{digits}f} {unit}", against, "", goal, measured <= limit)


def skipped(what, reason):
    return Row(what, "SKIPPED", str(reason))


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in rows])


def write(path, machine, versions, settings, rows, slices, minutes):
    head = ["what", "warmpod", "against", "ratio", "goal", ""]
    missed = sum(row.reached is False for row in rows)
    reached = sum(row.reached is True for row in rows)
    text = f"""\
# Results

Written by `make bench`; README.md says how to read it. {reached} goals reached, {missed} not.

- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, took {minutes:.1f} minutes
- machine: {machine}
- versions: {", ".join(versions)}
- settings: {settings}

{table(head, [row.cells() for row in rows])}

## Warm invocations, all figures

Medians over the rounds. CPU: of server, agents and functions together, for one invocation. Others: the share of the
machine that programs outside of the comparison took meanwhile; where it is large, trust CPU and the ratios above only.

{table(["function", "connections", "server", "invocations/s", "p50", "p99", "CPU", "others"], slices)}
"""
    path.write_text(text)
    return text
