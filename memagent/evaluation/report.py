"""What an evaluation found, for a person: a table for the terminal, a page of HTML that holds everything itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from memagent.evaluation.intervals import Interval, interval
from memagent.evaluation.metrics import SPLITS, adaptation_gain, context_means
from memagent.evaluation.page import Picture, page
from memagent.evaluation.recording import Recording
from memagent.files import write_text

Records = Sequence[Mapping[str, Any]]
SPLIT_NAMES = {"train": "training", "held_out": "held out"}
NOTE = "Mean return with its 95 % bootstrap interval over contexts (one context: over its episodes)."
GAIN_NOTE = " Gain: adapted − unadapted, paired by context."


def split_score(records: Records, split: str, adapted: bool) -> Interval | None:
    """Mean return over the contexts of a split with its 95 % interval; None where nothing was played.

    The interval is of the mean over contexts; of one context alone, over its episodes. A bootstrap's ends are means of
    returns that were seen, and so within what is possible.
    """
    means = list(context_means(records, split, adapted).values())
    chosen = [r for r in records if (r["split"], r["adapted"]) == (split, adapted)]
    if len(chosen) == 1:
        return interval(chosen[0]["returns"])
    return interval(means) if means else None


def table(records: Records, title: str = "Return per split") -> Group:
    """Training and held-out contexts by adapted and unadapted, for `rich.print`. `records`: see evaluation.json."""
    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    header, rows = _summary(records)
    for name in header:
        made.add_column(name, justify="left" if name == "contexts" else "right")
    for row in rows:
        made.add_row(*row)
    return Group(
        Text(title), made, Text(_note(records))
    )  # as Text: brackets in a folder's name are no markup


def write_report(
    path: Path,
    evaluation: Mapping[str, Any],
    config: Mapping[str, Any],
    figures: Mapping[str, Picture | Sequence[Picture]],
    *,
    title: str = "Evaluation",
    remarks: Sequence[str] = (),
    recording: Recording | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write report.html: one file, charts and pictures inside, nothing loaded from anywhere.

    Args:
        path: of the file.
        evaluation: what evaluation.json holds: `contexts`, and any other entries, which are listed.
        config: the run's configuration, nested as it may be.
        figures: Plotly figures, PNG bytes, PNG files or Matplotlib figures by caption, several of them side by side.
            The first sentence of a caption is its heading.
        title: of the page, such as the environment's id.
        remarks: sentences that a reader has to know before the numbers.
        recording: what the episode player shows; without one there is no player.
        commands: what to type to do all of it again.
    """
    records = evaluation["contexts"]
    facts = {key: value for key, value in evaluation.items() if key not in ("contexts", "summary")}
    return write_text(
        path,
        page(
            title=title,
            remarks=remarks,
            scores=_summary(records),
            note=_note(records),
            figures=figures,
            recording=recording,
            contexts=_context_rows(records),
            settings={
                name: values
                for name, values in {"Of the evaluation": facts, "Of the run": config}.items()
                if values
            },
            commands=commands,
        ),
    )


def _adapts(records: Records) -> bool:
    """Whether any context was played adapted."""
    return any(r["adapted"] for r in records)


def _note(records: Records) -> str:
    return NOTE + GAIN_NOTE if _adapts(records) else NOTE


def _summary(records: Records) -> tuple[list[str], list[list[str]]]:
    """Header and rows, a split each: with what adaptation brought, where there was any."""
    header = ["contexts", "unadapted", "adapted", "gain"] if _adapts(records) else ["contexts", "return"]
    rows = []
    for split in SPLITS:
        chosen = [r for r in records if r["split"] == split]
        if not chosen:
            continue
        row = [
            f"{SPLIT_NAMES[split]} ({len({r['context_id'] for r in chosen})})",
            _with_interval(split_score(records, split, adapted=False)),
        ]
        if _adapts(records):
            gains = adaptation_gain(records, split)
            row += [
                _with_interval(split_score(records, split, adapted=True)),
                _with_interval(interval(gains) if gains.size else None, sign="+"),
            ]
        rows.append(row)
    return header, rows


def _with_interval(score: Interval | None, sign: str = "") -> str:
    if score is None:
        return "–"
    size = abs(score.estimate)
    digits = 0 if size >= 100 else 1 if size >= 1 else 3
    estimate, low, high = (f"{value:{sign}.{digits}f}".replace("-", "−") for value in score)
    return estimate if math.isnan(score.low) else f"{estimate} [{low}, {high}]"


def _context_rows(records: Records) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(name for r in records for name in r["context"]))
    adapts = _adapts(records)
    header = ["split", "id", *names, *(["adapted"] if adapts else []), "episodes", "mean return", "std"]
    rows = [
        [
            SPLIT_NAMES[r["split"]],
            str(r["context_id"]),
            *(f"{r['context'][name]:.4g}" if name in r["context"] else "–" for name in names),
            *(["yes" if r["adapted"] else "no"] if adapts else []),
            str(r["episodes"]),
            f"{r['mean_return']:.1f}",
            f"{r['std_return']:.1f}",
        ]
        for r in sorted(records, key=lambda r: (SPLITS.index(r["split"]), r["context_id"], r["adapted"]))
    ]
    return header, rows
