"""The episode player of a page: what it shows of a recording, as a chart and as JSON types."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from memagent.evaluation.charting import GREEN, LINES, SHADES, VIRIDIS, line, panels
from memagent.evaluation.figures import GREY, INK, VERMILION
from memagent.evaluation.recording import Recording

MOST_SLOTS = 128  # rows of a heat map
MOST_LINES = 16
EVIDENCE = "evidence of a change, as a share of its threshold"


def player_chart(seen: Recording) -> go.Figure:
    """Observations (where there are no frames), actions, rewards, evidence, context and memory under each other.

    Lines mark the changes, when they were noticed, and, named "cursor", the step that is shown.
    """
    lines = {"action": seen.actions, "reward": seen.rewards}
    if seen.evidence is not None:
        lines[EVIDENCE] = seen.evidence
    if seen.contexts is not None:
        lines["context vector z"] = seen.contexts
    maps = {name: pooled(values) for name, values in seen.memory.items()}
    shown = {} if seen.frames else {"observation, each entry by its largest size": 120}
    heights = shown | dict.fromkeys(lines, 84) | dict.fromkeys(maps, 72)
    rows = {name: row for row, name in enumerate(heights, 1)}
    made = panels(list(heights.items()))
    if not seen.frames:
        _add_observations(made, seen.observations)
    for name, values in lines.items():
        _add_lines(made, rows[name], name, values)
    if seen.evidence is not None:
        made.add_hline(1.0, line={"color": GREY, "width": 1.2, "dash": "dot"}, row=rows[EVIDENCE], col=1)
    for name, values in maps.items():
        _add_memory(made, rows[name], name, values)
    _add_marks(made, seen)
    made.update_xaxes(fixedrange=True, range=[-0.5, len(seen.rewards) - 0.5])
    made.update_yaxes(fixedrange=True, nticks=4)
    made.update_xaxes(title_text="step", row=len(rows), col=1)
    made.update_layout(showlegend=False, hovermode="x")
    return made


def _add_marks(made: go.Figure, seen: Recording) -> None:
    for end in np.flatnonzero(seen.ends[:-1]):
        line(made, float(end) + 0.5, GREY, dash="dot")
    for change in seen.changes:
        line(made, change - 0.5, VERMILION, dash="dash")
    for step in seen.noticed:
        line(made, step, GREEN)
    line(made, 0, INK, name="cursor")


def _add_lines(made: go.Figure, row: int, name: str, values: NDArray) -> None:
    columns = values.reshape(len(values), -1).astype(np.float32).T[:MOST_LINES]
    whole = np.issubdtype(values.dtype, np.integer)  # actions that are numbers of choices
    shape = "hv" if name in ("action", "reward") else "linear"
    for k, column in enumerate(columns):
        colour = LINES[k % len(LINES)]
        made.add_scatter(
            y=column,
            name=name if len(columns) == 1 else f"{name} [{k}]",
            mode="markers" if whole else "lines",
            marker={"color": colour, "size": 4},
            line={"color": colour, "width": 1.4, "shape": shape},
            row=row,
            col=1,
        )


def _add_observations(made: go.Figure, observations: NDArray) -> None:
    size = np.abs(observations).max(0, keepdims=True)
    shares = (observations / np.where(size > 0, size, 1.0)).T.astype(np.float32)
    made.add_heatmap(z=shares, colorscale="RdBu", zmid=0, showscale=False, name="observation", row=1, col=1)


def _add_memory(made: go.Figure, row: int, name: str, values: NDArray) -> None:
    # The squares bring out weights of a few hundredths, which are most of what there is.
    scale = [[(k / (SHADES - 1)) ** 2, f"rgb({r},{g},{b})"] for k, (r, g, b) in enumerate(VIRIDIS)]
    made.add_heatmap(
        z=np.ascontiguousarray(values.T, np.float32),
        zmin=0,
        zmax=1,
        colorscale=scale,
        showscale=False,
        name=name,
        meta="memory",
        hovertemplate="step %{x}, slot %{y}: %{z:.3f}",
        row=row,
        col=1,
    )


def pooled(values: NDArray, most: int = MOST_SLOTS) -> NDArray:
    """Values [T, N] with the largest of neighbouring slots where there are more than `most`: [T, at most `most`]."""
    T, N = values.shape
    share = -(-N // most)
    padded = np.pad(values, ((0, 0), (0, -N % share)))
    return padded.reshape(T, -1, share).max(2)


def player_data(seen: Recording) -> dict[str, Any]:
    """What the player's script shows beside the chart, as JSON types."""
    begun = [t for t in range(len(seen.rewards)) if t == 0 or seen.conditions[t] != seen.conditions[t - 1]]
    return {
        "steps": len(seen.rewards),
        "actions": [_written(action) for action in seen.actions],
        "rewards": [float(f"{reward:.5g}") for reward in seen.rewards],
        "returns": [float(f"{gained:.5g}") for gained in seen.returns],
        "times": seen.times.tolist(),
        "ends": np.flatnonzero(seen.ends).tolist(),
        "changes": seen.changes,
        "noticed": seen.noticed,
        "conditions": [[t, dict(seen.conditions[t])] for t in begun if seen.conditions[t]],
        "evidence": None if seen.evidence is None else seen.evidence.round(2).tolist(),
        "frames": [
            [t, f"data:image/jpeg;base64,{base64.b64encode(frame).decode()}"]
            for t, frame in seen.frames.items()
        ],
        "shades": VIRIDIS,
    }


def _written(action: NDArray) -> str:
    return ", ".join(f"{part:.3g}" for part in np.atleast_1d(action))
