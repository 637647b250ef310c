"""From measured rounds to a table in markdown. Pure, but for `write`, which puts the table into a page."""

from dataclasses import dataclass
from statistics import median
from typing import Optional


@dataclass(frozen=True)
class Metric:
    """One row: a figure that each round measured for both sides."""

    key: str
    title: str
    goal: Optional[str] = None
    """The goal for Torus's ratio to the peer: `<= 0.65` or `>= 1.3`; without one the row only informs."""
    peer: Optional[str] = None
    """Among several peers, the one that the goal's ratio is to. Without one the goal is for the figure itself."""

    def met(self, ratio):
        sense, bound = self.goal.split()
        return ratio <= float(bound) if sense == "<=" else ratio >= float(bound)


def ratios(metric, ours, theirs):
    """The ratio in each round. What both sides' rounds shared (a busy minute, a hot core) cancels out."""
    return [a[metric.key] / b[metric.key] for a, b in zip(ours, theirs) if metric.key in a and b.get(metric.key)]


def table(metrics, our_name, ours, their_name, theirs, floor=None):
    """The markdown table of two sides' rounds, and the titles of the rows whose goal was missed.

    `floor` is a third side's name and rounds: what no broker can go below. It has no goal, and may lack figures.
    """
    floor_name, floor_rounds = floor or (None, [])
    head, ruler = f"| | {our_name} | {their_name} | ratio (least to most) | goal | |", "|---|---:|---:|---:|---:|---|"
    lines = [f"{head} {floor_name} |", f"{ruler}---:|"] if floor else [head, ruler]
    missed = []
    for metric in metrics:
        found = ratios(metric, ours, theirs)
        ratio = f"{median(found):.2f}× ({min(found):.2f} to {max(found):.2f})" if found else "–"
        goal, verdict = "", ""
        if metric.goal:
            met = bool(found) and metric.met(median(found))
            goal = metric.goal.replace("<=", "≤").replace(">=", "≥") + "×"
            verdict = "met" if met else "**missed**"
            missed += [] if met else [metric.title]
        cells = [figure(median(side[metric.key] for side in rounds)) for rounds in (ours, theirs)]
        line = f"| {metric.title} | {cells[0]} | {cells[1]} | {ratio} | {goal} | {verdict} |"
        if floor:
            least = ratios(metric, floor_rounds, theirs)
            line += f" {median(least):.2f}× |" if least else " |"
        lines.append(line)
    return "\n".join(lines), missed


def comparison(metrics, our_name, sides):
    """The markdown table of several sides' rounds, by name, and the titles of the rows whose goal was missed.

    A row's goal is held against Torus's ratio to one peer, or against its own median where there is no such peer. A
    side may lack figures; one that is infinite was not reached in the time that it had.
    """
    names = [our_name, *(name for name in sides if name != our_name)]
    lines = [f"| | {' | '.join(names)} | goal | |", f"|---|{'---:|' * (len(names) + 1)}---|"]
    missed = []
    for metric in metrics:
        cells = []
        for name in names:
            found = [one[metric.key] for one in sides[name] if metric.key in one]
            cells.append(figure(median(found)) if found else "")
        goal, verdict = "", ""
        if metric.goal:
            goal = metric.goal.replace("<=", "≤").replace(">=", "≥")
            if metric.peer:
                goal += f"× {metric.peer}"
                found = ratios(metric, sides[our_name], sides[metric.peer])
                told = f": {median(found):.2f}× ({min(found):.2f} to {max(found):.2f})" if found else ": –"
            else:
                found = [one[metric.key] for one in sides[our_name] if metric.key in one]
                told = ""
            met = bool(found) and metric.met(median(found))
            verdict = ("met" if met else "**missed**") + told
            missed += [] if met else [metric.title]
        lines.append(f"| {metric.title} | {' | '.join(cells)} | {goal} | {verdict} |")
    return "\n".join(lines), missed


def figure(value):
    """Three digits that matter, and no more."""
    if value == float("inf"):
        return "never"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def between(page, name, text):
    """The page with `text` between its two markers of this name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page must have {begin} and then {end}, once each")
    head, rest = page.split(begin)
    return f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}"


def write(path, name, text):
    page = between(path.read_text(encoding="utf-8"), name, text)
    path.write_text(page, encoding="utf-8")
