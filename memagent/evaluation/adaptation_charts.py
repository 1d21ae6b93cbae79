"""Charts of adaptation for a page: the context vector over a drifting stream, the model's error with it and without."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from memagent.evaluation.adaptation_figures import Directions, bin_by_step, main_directions
from memagent.evaluation.charting import LINES, band, bands, chart
from memagent.evaluation.figures import BLUE, VERMILION

PLANE_DOTS = 1_500


def context_charts(contexts: NDArray, context_ids: NDArray) -> tuple[go.Figure, go.Figure]:
    """The context vector z [T, Z] of one environment over its stream, and its path in its two main directions.

    Args:
        contexts: z at each step.
        context_ids: [T] which condition held; bands show where it changes.
    """
    found = main_directions(contexts)
    starts = np.flatnonzero(np.diff(context_ids)) + 1
    return _over_time(found, starts), _plane(found, context_ids, starts)


def _over_time(found: Directions, starts: NDArray) -> go.Figure:
    made = chart("step of the stream", "z along its main directions")
    for k, colour in enumerate((BLUE, VERMILION)):
        name = f"direction {k + 1}: {100 * found.shares[k]:.0f} % of variance"
        made.add_scatter(
            y=found.coordinates[:, k].astype(np.float32), name=name, line={"color": colour, "width": 1.5}
        )
    bands(made, [0, *starts.tolist(), len(found.coordinates)])
    return made


def _plane(found: Directions, ids: NDArray, starts: NDArray) -> go.Figure:
    made = chart("direction 1", "direction 2")
    ends = np.append(starts - 1, len(ids) - 1)
    groups = np.unique(ids)
    thin = np.arange(0, len(ids), -(-len(ids) // PLANE_DOTS))
    for place, group in enumerate(groups):
        colour, name = LINES[place % len(LINES)], f"condition {group}"
        rows, last = thin[ids[thin] == group], ends[ids[ends] == group]
        for chosen, size, opacity, shown in (
            (rows, 4, 0.35, False),
            (last, 11, 1.0, len(groups) <= len(LINES)),
        ):
            made.add_scatter(
                x=found.coordinates[chosen, 0].astype(np.float32),
                y=found.coordinates[chosen, 1].astype(np.float32),
                mode="markers",
                name=name,
                legendgroup=name,
                showlegend=shown,
                marker={"color": colour, "size": size, "opacity": opacity},
            )
    return made


def model_chart(steps_since_change: NDArray, error_before: NDArray, error_after: NDArray) -> go.Figure:
    """The dynamics model's error [n] with z = 0 and with z fitted, over the steps [n] since the condition changed."""
    made = chart("steps since the change (first: 1)", "mean squared error")
    if not len(steps_since_change):
        return made
    binned = bin_by_step(steps_since_change, np.stack([error_before, error_after], 1))
    for k, (name, colour) in enumerate((("z = 0", VERMILION), ("z fitted", BLUE))):
        mean, error = binned.means[:, k], np.nan_to_num(binned.standard_errors[:, k])
        band(made, binned.centres + 1, mean - error, mean + error, colour)
        made.add_scatter(
            x=binned.centres + 1, y=mean, name=name, mode="lines+markers", line={"color": colour}
        )
    made.update_xaxes(type="log", dtick=1)
    made.update_yaxes(rangemode="tozero")
    return made
