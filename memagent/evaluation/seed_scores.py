"""The scores of several seeds of one setting, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from memagent.evaluation.intervals import interval
from memagent.evaluation.metrics import SPLITS, context_means
from memagent.evaluation.numerals import number

SHORT_NAMES = {"train": "training", "held_out": "held out"}
NOTE = "Mean return over contexts of each seed; mean over seeds and its 95 % bootstrap interval, whole seeds drawn."


def seed_table(of_seeds: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> Group:
    """A row per seed and one for their mean, training and held-out contexts, unadapted and adapted, for `rich.print`.

    `of_seeds` are the `contexts` of evaluation.json by the seed's name.
    """
    columns: dict[str, list[float]] = {}
    for split in SPLITS:
        for adapted, kind in ((False, "unadapted"), (True, "adapted")):
            means = [list(context_means(records, split, adapted).values()) for records in of_seeds.values()]
            if all(means):
                columns[f"{SHORT_NAMES[split]}\n{kind}"] = [float(np.mean(row)) for row in means]
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("seed", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row, name in enumerate(of_seeds):
        table.add_row(name.removeprefix("seed-"), *(number(scores[row]) for scores in columns.values()))
    table.add_section()
    over_seeds = [interval(np.reshape(scores, (-1, 1)), over="whole runs") for scores in columns.values()]
    table.add_row("mean", *(number(score.estimate) for score in over_seeds))
    if len(of_seeds) > 1:
        table.add_row("95 %", *(f"{number(score.low)} to {number(score.high)}" for score in over_seeds))
    return Group(Text(title), table, Text(NOTE))
