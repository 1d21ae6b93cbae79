"""Charts of the scores that were taken while an agent trained: the curve, and the matrix of phases and contexts."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from memagent.evaluation.charting import SHADES, VIRIDIS, chart
from memagent.evaluation.charts import described
from memagent.evaluation.figures import BLUE, GREY, VERMILION
from memagent.evaluation.numerals import number
from memagent.evaluation.phase_scores import PhaseScores

WRITTEN_UP_TO = 12  # contexts whose scores are written into their cells


def curve_chart(scores: PhaseScores) -> go.Figure:
    """Evaluated return over the training's steps: the mean over the contexts trained by then, and random actions."""
    made = chart("environment steps", "return")
    steps = np.array([scored.step for scored in scores.evaluations])
    random = [
        np.mean([scores.contexts[place].random for place in scores.trained(scored)] or [np.nan])
        for scored in scores.evaluations
    ]
    means = np.array([scores.mean(scored) for scored in scores.evaluations])
    line = {"color": BLUE, "width": 2}
    made.add_scatter(x=steps, y=means, name="agent", mode="lines+markers", line=line)
    dashed = {"color": GREY, "width": 1.4, "dash": "dot"}
    made.add_scatter(x=steps, y=np.array(random), name="random actions", mode="lines", line=dashed)
    if scores.best >= 0:
        best = slice(scores.best, scores.best + 1)
        ring = {"color": VERMILION, "size": 13, "symbol": "circle-open", "line": {"width": 2}}
        made.add_scatter(x=steps[best], y=means[best], name="best_model.zip", mode="markers", marker=ring)
    return made


def matrix_chart(scores: PhaseScores) -> go.Figure:
    """The score on every context [C] at the end of every phase [N]; cells of a phase's own context have a frame."""
    a, trained = scores.matrix()
    count = a.shape[1]
    known = [(name.replace("_", " "), x) for name, x in scores.transfer().items() if x is not None]
    made = chart(
        "context, by the first phase that trains it",
        "phase that ended",
        title=", ".join(f"{name} {number(x, '+')}" for name, x in known),
        height=150 + 30 * min(len(a), 30),
    )
    texts = [[described(seen.context) or f"context {seen.context_id}" for seen in scores.contexts]] * len(a)
    names = contexts_by_phase(scores)
    scale = [[k / (SHADES - 1), f"rgb({r},{g},{b})"] for k, (r, g, b) in enumerate(VIRIDIS)]
    made.add_heatmap(
        z=a,
        x=names,
        y=[f"{phase + 1}" for phase in range(len(a))],
        colorscale=scale,
        colorbar={"title": {"text": "return"}},
        customdata=texts,
        hovertemplate="after phase %{y}, context of phase %{x}: %{z:.4g}<br>%{customdata}<extra></extra>",
        hoverongaps=False,
        xgap=2,
        ygap=2,
        name="matrix",
    )
    if count <= WRITTEN_UP_TO:
        written = [["" if np.isnan(x) else number(x) for x in row] for row in a]
        made.update_traces(text=written, texttemplate="%{text}")
    for phase, place in enumerate(trained):
        if place >= 0 and not np.isnan(a[phase, place]):
            box = {"x0": place - 0.5, "x1": place + 0.5, "y0": phase - 0.5, "y1": phase + 0.5}
            made.add_shape(type="rect", **box, line={"color": VERMILION, "width": 2.5})
    made.update_xaxes(type="category")
    made.update_yaxes(type="category", autorange="reversed")
    return made


def contexts_by_phase(scores: PhaseScores) -> list[str]:
    """A name for each context: the number of the first phase that trains it, from 1; "next" of one that is to come."""
    names = ["next"] * len(scores.contexts)
    for phase, place in reversed(list(enumerate(scores.phases))):
        if place >= 0:
            names[place] = f"{phase + 1}"
    return names
