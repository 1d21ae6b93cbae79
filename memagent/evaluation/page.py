"""The page of a report: a template filled with numbers, charts, pictures and the episode player.

Everything is inside. The page's Content-Security-Policy lets nothing be loaded and, by their hashes, no scripts run but
the page's own: that holds even for markup that escaping might let through.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import plotly.graph_objects as go
from matplotlib.figure import Figure

from memagent.evaluation.charting import DARK
from memagent.evaluation.figures import png
from memagent.evaluation.player import player_chart, player_data
from memagent.evaluation.recording import Recording

Picture: TypeAlias = go.Figure | Figure | bytes | Path
Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
TEMPLATES = files("memagent.evaluation") / "templates"
PLAYER_NOTE = "Steps of one environment, of whose changes nobody tells the agent. Dotted lines end episodes."
CHANGE_NOTE = " ▼ and the dashed line: the condition changes."
NOTICE_NOTE = (
    " ◆ and the green line: the agent takes the condition for changed; where it has not, a false alarm."
)
KEYS_NOTE = " Drag the slider, click into the panels, or press ← and → (with Shift: ten steps)."


def page(
    *,
    title: str,
    remarks: Sequence[str],
    scores: Rows,
    note: str,
    figures: Mapping[str, Picture | Sequence[Picture]],
    recording: Recording | None,
    contexts: Rows,
    settings: Mapping[str, Mapping[str, Any]],
    commands: Sequence[str],
) -> str:
    """The page as HTML; see `write_report`. Tables are a header and rows of text."""
    from jinja2 import Environment
    from plotly.offline import get_plotlyjs

    interactive = recording is not None or any(isinstance(part, go.Figure) for part in _parts(figures))
    scripts = [_template("report.js"), get_plotlyjs()] if interactive else []
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return template.from_string(_template("report.html.j2")).render(
        title=title,
        policy=policy(scripts),
        style=_template("report.css"),
        remarks=remarks,
        scores=[
            (name, list(_cards(scores[0][1:], row[1:])))
            for name, row in zip(_headings(scores[1]), scores[1], strict=True)
        ],
        note=note,
        sections=[_section(caption, pictures) for caption, pictures in figures.items()],
        player=None if recording is None else _player(recording),
        contexts={"header": contexts[0], "rows": contexts[1]},
        settings=[(name, list(_flat(values))) for name, values in settings.items()],
        commands=commands,
        dark=in_script(json.dumps(DARK)),
        scripts=scripts,
    )


def policy(scripts: Iterable[str]) -> str:
    """The Content-Security-Policy of a page with these scripts inside."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    # Plotly writes styles into the page; without a hash there is no way to name them.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def in_script(text: str) -> str:
    """JSON that may stand in a script element: no character in it can end one."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _parts(figures: Mapping[str, Picture | Sequence[Picture]]) -> Iterator[Picture]:
    for pictures in figures.values():
        yield from _several(pictures)


def _several(pictures: Picture | Sequence[Picture]) -> Sequence[Picture]:
    return pictures if isinstance(pictures, list | tuple) else [pictures]


def _headings(rows: Sequence[Sequence[str]]) -> list[str]:
    """The names of rows; one that is indented says of what it is: the row before it."""
    names = [row[0] for row in rows]
    return [
        f"{names[i - 1]}, {name.strip()}" if i and name.startswith(" ") else name
        for i, name in enumerate(names)
    ]


def _cards(labels: Iterable[str], cells: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Label, estimate and interval of the numbers of a row."""
    for label, cell in zip(labels, cells, strict=True):
        estimate, _, interval = cell.partition(" ")
        yield label, estimate, interval


def _section(caption: str, pictures: Picture | Sequence[Picture]) -> dict[str, Any]:
    """What the template shows of pictures side by side, under the first sentence of their caption."""
    title, _, text = caption.partition(". ")
    parts = [
        _chart(picture) if isinstance(picture, go.Figure) else {"source": _source(picture)}
        for picture in _several(pictures)
    ]
    return {"title": title.removesuffix("."), "text": text, "parts": parts}


def _chart(figure: go.Figure) -> dict[str, Any]:
    return {"chart": in_script(figure.to_json()), "height": figure.layout.height or 360}


def _source(picture: Figure | bytes | Path) -> str:
    match picture:
        case Figure():
            data = png(picture)
        case Path():
            data = picture.read_bytes()
        case _:
            data = picture
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _player(recording: Recording) -> dict[str, Any]:
    changes = CHANGE_NOTE if recording.changes else " Nothing changes in them."
    notices = NOTICE_NOTE if recording.noticed else ""
    return {
        **_chart(player_chart(recording)),
        "text": PLAYER_NOTE + changes + notices + KEYS_NOTE,
        "frames": bool(recording.frames),
        "last": len(recording.rewards) - 1,
        "data": in_script(json.dumps(player_data(recording))),
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted name, value)."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
