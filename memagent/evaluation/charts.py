"""Charts of a run for its page: the training stream, the return after a change, the contexts.

Every function returns a Plotly figure; `charting` says how they look. The pictures for papers are in `figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from memagent.evaluation.adaptation_figures import episode_returns
from memagent.evaluation.charting import band, bands, chart, panels
from memagent.evaluation.figures import BLUE, DOTS, GREY, VERMILION, running_mean
from memagent.evaluation.intervals import interval

Records = Sequence[Mapping[str, Any]]
KINDS = ((False, "unadapted", VERMILION, "circle"), (True, "adapted", BLUE, "diamond"))
BANDS_UP_TO = 200


def stream_chart(
    episodes: Mapping[str, NDArray], conditions: Mapping[int, Mapping[str, float]] | None = None
) -> go.Figure:
    """The return of every training episode, and the phases and the condition of the first environment beneath.

    Args:
        episodes: columns [n] by name, as `memagent.progress.read_episodes` gives them.
        conditions: the values of the first environment's drifting parameters by context id.
    """
    conditions = conditions or {}
    values_of: dict[str, set[float]] = {}
    for values in conditions.values():
        for name, value in values.items():
            values_of.setdefault(name, set()).add(value)
    names = [name for name, values in values_of.items() if len(values) > 1]
    made = panels([("return", 260), *((name, 70) for name in names)])
    order = np.argsort(episodes["step"], kind="stable")
    steps, returns = episodes["step"][order], episodes["return"][order]
    thin = slice(None, None, max(1, len(steps) // DOTS))
    made.add_scatter(
        x=steps[thin],
        y=returns[thin],
        mode="markers",
        name="episode",
        marker={"color": GREY, "size": 4, "opacity": 0.5},
        row=1,
        col=1,
    )
    made.add_scatter(
        x=steps, y=running_mean(returns), name="running mean", line={"color": BLUE, "width": 2}, row=1, col=1
    )
    if not len(steps):
        return made
    first = episodes["env"] == episodes["env"].min()
    ends, phases, ids = (episodes[name][first] for name in ("step", "phase", "context_id"))
    changes = np.flatnonzero(np.diff(phases)) + 1  # of the episodes of the first environment
    starts = np.array([0.0, *ends[changes - 1]])
    if 0 < len(changes) <= BANDS_UP_TO:
        bands(made, [*starts, steps[-1]])
    for row, name in enumerate(names, 2):
        held = [conditions[int(ids[k])].get(name, np.nan) for k in [0, *changes]]
        line = {"color": VERMILION, "width": 1.6, "shape": "hv"}
        path = np.array([*held, held[-1]])
        made.add_scatter(
            x=[*starts, steps[-1]], y=path, name=name, line=line, showlegend=False, row=row, col=1
        )
    made.update_xaxes(title_text="environment steps", row=1 + len(names), col=1)
    return made


def recovery_chart(records: Records, title: str = "") -> go.Figure:
    """Mean return over the contexts of `records` by episode since the change, with its 95 % interval."""
    made = chart("episode since the change (first: 1)", "return", title=title)
    for adapted, name, colour, symbol in KINDS:
        chosen = [r for r in records if r["adapted"] == adapted]
        if not chosen:
            continue
        estimates = [interval(column, over="contexts") for column in episode_returns(chosen).T]
        mean, low, high = np.array(estimates).reshape(-1, 3).T
        numbers = np.arange(1, len(mean) + 1)
        if np.isfinite(low).all():
            band(made, numbers, low, high, colour)
        made.add_scatter(
            x=numbers,
            y=mean,
            name=name,
            mode="lines+markers",
            line={"color": colour},
            marker={"symbol": symbol, "size": 7},
        )
    if records and (warmup := len(records[0]["warmup_returns"])):
        shade = {"fillcolor": GREY, "opacity": 0.15, "line_width": 0, "layer": "below"}
        text = {"text": "warm-up", "textposition": "top left"}
        made.add_shape(type="rect", x0=0.5, x1=warmup + 0.5, y0=0, y1=1, yref="paper", label=text, **shade)
    made.update_xaxes(dtick=1)
    return made


def contexts_chart(records: Records, title: str = "") -> go.Figure:
    """Mean return of every context of `records`, best first, with its lowest and highest episode."""
    made = chart("context, best first", "return", title=title)
    best = {r["context_id"]: r["mean_return"] for r in sorted(records, key=lambda r: r["adapted"])}
    places = {context: i for i, context in enumerate(sorted(best, key=lambda c: -best[c]), 1)}
    for adapted, name, colour, symbol in KINDS:
        chosen = [r for r in records if r["adapted"] == adapted]
        if not chosen:
            continue
        mean = np.array([r["mean_return"] for r in chosen])
        low, high = (np.array([end(r["returns"]) for r in chosen]) for end in (min, max))
        made.add_scatter(
            x=np.array([places[r["context_id"]] for r in chosen]) + (0.14 if adapted else -0.14),
            y=mean,
            name=name,
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 8},
            error_y={
                "array": high - mean,
                "arrayminus": mean - low,
                "color": colour,
                "thickness": 1.2,
                "width": 0,
            },
            text=[described(r["context"]) or f"context {r['context_id']}" for r in chosen],
            hovertemplate="%{text}<br>return %{y:.4g}",
        )
    made.update_xaxes(dtick=max(1, len(places) // 12))
    return made


def described(values: Mapping[str, float]) -> str:
    """Parameters and their values in one line."""
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())
