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
from memagent.evaluation.numerals import number, places
from memagent.evaluation.page import Picture, page
from memagent.evaluation.recording import Recording
from memagent.evaluation.references import NOTE as NORMALISED_NOTE
from memagent.evaluation.references import References, has_both, normalised, normalised_gain
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


def split_gain(records: Records, split: str) -> Interval | None:
    """What adaptation brought over the contexts of a split, with its 95 % interval; None where it was not played."""
    gains = adaptation_gain(records, split)
    return interval(gains) if gains.size else None


def table(records: Records, title: str = "Return per split", references: References | None = None) -> Group:
    """Training and held-out contexts by adapted and unadapted, for `rich.print`; normalised too where it can be.

    `records` and `references`: see evaluation.json.
    """
    references = references or {}
    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    header, rows = _summary(records, references)
    for name in header:
        made.add_column(name, justify="left" if name == "contexts" else "right")
    for row in rows:
        made.add_row(*row)
    return Group(
        Text(title), made, Text(_note(records, references))
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
    records, references = evaluation["contexts"], evaluation.get("references", {})
    facts = {key: value for key, value in evaluation.items() if key not in ("contexts", "summary")}
    return write_text(
        path,
        page(
            title=title,
            remarks=remarks,
            scores=_summary(records, references),
            note=_note(records, references),
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


def _note(records: Records, references: References) -> str:
    splits = {r["split"] for r in records}
    return (
        NOTE
        + (GAIN_NOTE if _adapts(records) else "")
        + (NORMALISED_NOTE if any(has_both(references, split) for split in splits) else "")
    )


def _summary(records: Records, references: References) -> tuple[list[str], list[list[str]]]:
    """Header and rows, one or, normalised, two a split: with what adaptation brought, where there was any."""
    adapts = _adapts(records)
    header = ["contexts", "unadapted", "adapted", "gain"] if adapts else ["contexts", "return"]
    rows = []
    for split in SPLITS:
        count = len({r["context_id"] for r in records if r["split"] == split})
        if not count:
            continue
        scores = [split_score(records, split, adapted) for adapted in ((False, True) if adapts else (False,))]
        gains = [split_gain(records, split)] if adapts else []
        cells = [_with_interval(x) for x in scores] + [_with_interval(x, sign="+") for x in gains]
        rows.append([f"{SPLIT_NAMES[split]} ({count})", *cells])
        if has_both(references, split):
            of = references[split]
            cells = [_with_interval(x and normalised(x, of), digits=2) for x in scores]
            cells += [_with_interval(x and normalised_gain(x, of), sign="+", digits=2) for x in gains]
            rows.append(["  normalised", *cells])
    return header, rows


def _with_interval(score: Interval | None, sign: str = "", digits: int | None = None) -> str:
    if score is None:
        return "–"
    digits = places(score.estimate) if digits is None else digits
    estimate, low, high = (number(value, sign, digits) for value in score)
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
