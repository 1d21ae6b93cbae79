"""A comparison for a person: tables for the terminal, a picture, and a page of HTML that holds everything itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from memagent.evaluation.adaptation_figures import GROUP_COLOURS
from memagent.evaluation.comparison import Groups, scores
from memagent.evaluation.figures import GREY, INK, WIDTH, literal, plain_axes, png
from memagent.evaluation.intervals import Interval
from memagent.evaluation.metrics import SPLIT_NAMES
from memagent.evaluation.numerals import number, with_ends
from memagent.files import write_text

NOTE = (
    "Scores are mean returns of the agents as they act, with adaptation where they adapt; IQM: the mean of the middle "
    "half of all runs and contexts. In brackets 95 % bootstrap intervals, over whole runs; over contexts where a group "
    "is one run. Gain: adapted − unadapted, paired. P: the probability that a run of the first beats one of the second."
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>
body{font:16px/1.5 system-ui,sans-serif;color:#24292f;background:#fff;max-width:64rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem} h2{font-size:1.2rem;margin-top:2.2rem} .note{color:#57606a;font-size:.9rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums} .wide{overflow-x:auto}
th,td{padding:.3rem .8rem;border-bottom:1px solid #d0d7de;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left} img{max-width:100%;height:auto}
</style></head>
<body><h1>{{ title }}</h1>
<ul>{% for sentence in sentences %}<li>{{ sentence }}</li>{% endfor %}</ul>
<figure><img alt="Scores of every group, and their profiles" src="data:image/png;base64,{{ picture }}"></figure>
{% for table in tables %}<h2>{{ table.title }}</h2>
<div class="wide"><table><thead><tr>{% for name in table.header %}<th scope="col">{{ name }}</th>{% endfor %}
</tr></thead><tbody>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endfor %}<p class="note">{{ note }}</p></body></html>
"""


class Table(NamedTuple):
    """Cells of text under a title; the first column is on the left."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(comparison: Mapping[str, Any]) -> list[Table]:
    """A table of groups and one of pairs for every split, and one of the trainings where they tell something.

    `comparison` is what `memagent.evaluation.comparison.compare` gives.
    """
    groups, pairs = comparison["groups"], comparison["pairs"]
    made = []
    for split in next(iter(groups.values()))["scores"]:
        made.append(_scores_table(groups, split))
        if rows := [_pair_row(pair) for pair in pairs if pair["split"] == split]:
            header = ["first − second", "difference", "P(first > second)", "paired by"]
            made.append(Table(f"Differences on {SPLIT_NAMES[split]}", header, rows))
    if any(group["training"] for group in groups.values()):
        made.append(_training_table(groups))
    made.append(_runs_table(groups))
    return made


def for_terminal(comparison: Mapping[str, Any]) -> Group:
    """The tables and sentences, for `rich.print`; but for the list of runs, which the files have."""
    parts: list[RichTable | Text] = []
    for table in tables(comparison)[:-1]:
        made = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for place, name in enumerate(table.header):
            made.add_column(name, justify="right" if place else "left")
        for row in table.rows:
            made.add_row(*map(Text, row))  # as Text: brackets are no markup
        parts += [Text(f"{table.title}\n", style="bold"), made, Text("")]
    return Group(*parts, *map(Text, comparison["sentences"]), Text(NOTE, style="dim"))


def write_page(path: Path, comparison: Mapping[str, Any], picture: bytes) -> Path:
    """Write comparison.html: one file, the picture (PNG) inside, nothing loaded from anywhere."""
    from jinja2 import Environment, StrictUndefined  # only where a page is written

    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE)
    return write_text(
        path,
        page.render(
            title=f"{comparison['env']}: {', '.join(comparison['groups'])}",
            sentences=comparison["sentences"],
            picture=base64.b64encode(picture).decode(),
            tables=tables(comparison),
            note=NOTE,
        ),
    )


def picture(groups: Groups, comparison: Mapping[str, Any]) -> bytes:
    """Scores of every group with intervals, and their performance profiles, a row per split, as PNG.

    A profile is the share of all runs and contexts with a score above each return (Agarwal et al. 2021, section 4.2).
    """
    splits = list(next(iter(comparison["groups"].values()))["scores"])
    height = 1.2 + len(splits) * (1.3 + 0.3 * len(groups))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(len(splits), 2, squeeze=False)
    for (left, right), split in zip(grid, splits, strict=True):
        for row, (name, runs) in enumerate(groups.items()):
            colour = GROUP_COLOURS[row % len(GROUP_COLOURS)]
            found = comparison["groups"][name]["scores"][split]
            for kind, marker, offset in (("mean", "o", -0.12), ("iqm", "D", 0.12)):
                score = _interval(found[kind])
                ends = np.nan_to_num(
                    [[score.estimate - score.low], [score.high - score.estimate]]
                )  # none: no bar
                left.errorbar(score.estimate, row + offset, xerr=ends, fmt=marker, color=colour, markersize=5)
            left.plot(found["runs"], np.full(len(runs), row), "|", color=GREY, markersize=9, zorder=1)
            right.ecdf(
                scores(runs, split).ravel(),
                complementary=True,
                color=colour,
                linewidth=1.6,
                label=literal(name),
            )
        left.set_yticks(range(len(groups)), [literal(name) for name in groups])
        left.set_ylim(len(groups) - 0.5, -0.5)
        left.set_title(SPLIT_NAMES[split], loc="left", fontsize=10, color=INK)
        right.set_title("share of runs and contexts above", loc="left", fontsize=10, color=INK)
        plain_axes(left, "both")
        plain_axes(right, "both")
    grid[-1, 0].set_xlabel("return: ● mean, ◆ IQM, with 95 % intervals; | single runs")
    grid[-1, 1].set_xlabel("return")
    grid[0, 1].legend(fontsize=8, frameon=False)
    return png(figure)


def _scores_table(groups: Mapping[str, Any], split: str) -> Table:
    gains = any("gain" in group["scores"][split] for group in groups.values())
    rows = []
    for name, group in groups.items():
        of_split = group["scores"][split]
        cells = [with_ends(_interval(of_split[kind])) for kind in ("mean", "iqm")]
        if gains:
            cells.append(with_ends(_interval(of_split["gain"]), "+") if "gain" in of_split else "–")
        rows.append([name, str(len(group["seeds"])), *cells])
    return Table(
        f"Return on {SPLIT_NAMES[split]}",
        ["group", "runs", "mean", "IQM", *(["gain"] if gains else [])],
        rows,
    )


def _pair_row(pair: Mapping[str, Any]) -> list[str]:
    return [
        f"{pair['first']} − {pair['second']}",
        with_ends(_interval(pair["difference"]), "+"),
        with_ends(_interval(pair["probability_of_improvement"])),
        " and ".join(pair["paired_by"]),
    ]


def _training_table(groups: Mapping[str, Any]) -> Table:
    """With the columns that any group has."""
    told = {name: group["training"] for name, group in groups.items()}
    columns: dict[str, list[str]] = {"group": list(told)}
    if any("steps_to_threshold" in of_group for of_group in told.values()):
        steps = [of_group.get("steps_to_threshold", []) for of_group in told.values()]
        reached = [[step for step in row if step is not None] for row in steps]
        columns["steps to the threshold, median"] = [
            f"{np.median(row):,.0f}" if row else "–" for row in reached
        ]
        columns["reached by"] = [
            f"{len(row)} of {len(all_of)}" for row, all_of in zip(reached, steps, strict=True)
        ]
    if any("resumption" in of_group for of_group in told.values()):
        columns["first return when an old context is back − best before"] = [
            with_ends(_interval(of_group["resumption"]), "+") if "resumption" in of_group else "–"
            for of_group in told.values()
        ]
    return Table("The trainings", list(columns), list(zip(*columns.values(), strict=True)))


def _runs_table(groups: Mapping[str, Any]) -> Table:
    rows = []
    for name, group in groups.items():
        for place, (folder, seed) in enumerate(zip(group["folders"], group["seeds"], strict=True)):
            means = [number(of_split["runs"][place]) for of_split in group["scores"].values()]
            rows.append([folder, name, str(seed), *means])
    splits = next(iter(groups.values()))["scores"]
    return Table("Runs", ["folder", "group", "seed", *(SPLIT_NAMES[split] for split in splits)], rows)


def _interval(score: Mapping[str, float | None]) -> Interval:
    return Interval(**{name: np.nan if value is None else value for name, value in score.items()})
