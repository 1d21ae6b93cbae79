"""Pictures of adaptation: the context vector over a drifting stream, the model's error and the return after a change.

As in `figures`, every function returns a Matplotlib `Figure` of its own. The context vector z [Z] is zero at the start
of every phase and is fitted to the rows of that phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from memagent.evaluation.figures import (
    BLUE,
    DOTS,
    GREY,
    INK,
    KINDS,
    LINES_UP_TO,
    VERMILION,
    WIDTH,
    plain_axes,
)
from memagent.evaluation.intervals import interval
from memagent.evaluation.metrics import SPLIT_NAMES, SPLITS

# Okabe and Ito 2008 without black and yellow; more groups than these share viridis.
GROUP_COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


# The context vector


class Directions(NamedTuple):
    """The two main directions of some rows."""

    coordinates: NDArray  # [T, 2] rows along the directions; z = 0 is at (0, 0)
    directions: NDArray  # [2, Z] orthonormal, the largest entry of each is positive
    shares: NDArray  # [2] of the variance of the rows, in [0, 1]


def main_directions(context: ArrayLike) -> Directions:
    """The first two principal components of rows z [T, Z], from the singular value decomposition.

    Where T or Z is 1, the missing variance is 0 and the missing coordinates are 0.

    Raises:
        ValueError: for rows that are not [T, Z] with T and Z at least 1, or not finite.
    """
    z = np.asarray(context, dtype=np.float64)
    if z.ndim != 2 or z.size == 0 or not np.isfinite(z).all():
        raise ValueError(
            f"The context vectors have shape {z.shape}; give finite rows [T, Z], at least one row and one column."
        )
    T, Z = z.shape
    # Rows and columns of zeros change neither the directions nor the variance.
    centred = np.pad(z - z.mean(0), ((0, max(0, 2 - T)), (0, max(0, 2 - Z))))
    _, scale, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2, :Z]
    largest = np.abs(directions).argmax(1, keepdims=True)
    directions = directions * np.where(np.take_along_axis(directions, largest, 1) < 0, -1.0, 1.0)
    variance = scale**2
    shares = variance[:2] / max(variance.sum(), np.finfo(np.float64).tiny)
    return Directions(z @ directions.T, directions, shares)


def context_figure(
    context: ArrayLike,
    context_ids: ArrayLike,
    phases: ArrayLike | None = None,
    *,
    steps: ArrayLike | None = None,
    group_name: str = "condition",
    title: str = "The context vector z over a drifting stream",
) -> Figure:
    """The context vector of one environment over its stream, and its path in the plane of its two main directions.

    A large mark is z at the end of a phase: marks of the same colour lie together if z tells the conditions apart.

    Args:
        context: [T, Z] the context vector at each row.
        context_ids: [T] integer id of the condition (or of the phase) that holds at each row; sets the colours.
        phases: [T] number of the phase, for streams in which a phase may bring the same condition again; by default
            a phase ends where the id changes.
        steps: [T] environment step of each row; by default 0 to T - 1.
        group_name: what an id stands for, in the legend: "condition" or "phase".
        title: of the figure.
    """
    z = np.asarray(context, dtype=np.float64)
    ids = np.asarray(context_ids)
    numbers = ids if phases is None else np.asarray(phases)
    x = np.arange(len(ids)) if steps is None else np.asarray(steps)
    if z.ndim != 2 or not (len(z),) == ids.shape == numbers.shape == x.shape:
        raise ValueError(
            f"The context vectors have shape {z.shape}, the ids {ids.shape}, the phases {numbers.shape} and the steps "
            f"{x.shape}; give [T, Z] and [T] for the others, with the same T."
        )
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontweight="bold", fontsize=12)
    if not z.size:
        return figure
    found = main_directions(z)
    starts = np.flatnonzero(np.diff(numbers)) + 1
    over_time, plane = figure.subplots(1, 2, width_ratios=(1.45, 1.0))
    _draw_over_time(over_time, x, found, starts)
    _draw_plane(plane, found, ids, starts, group_name)
    return figure


def _draw_over_time(axes: Axes, steps: NDArray, found: Directions, starts: NDArray) -> None:
    marker = "o" if len(steps) == 1 else None
    for k, colour in enumerate((BLUE, VERMILION)):
        label = f"direction {k + 1} ({_percent(found.shares[k])} of variance)"
        axes.plot(
            steps,
            found.coordinates[:, k],
            color=colour,
            linewidth=1.3,
            marker=marker,
            markersize=4,
            label=label,
        )
    many = len(starts) > LINES_UP_TO
    for k, change in enumerate(steps[starts]):
        axes.axvline(
            change,
            color=GREY,
            linewidth=0.5 if many else 1.0,
            alpha=0.4 if many else 0.8,
            linestyle=(0, (4, 2)),
            zorder=1,
            label="phase change" if k == 0 else None,
        )
    axes.set_xlabel("environment steps")
    axes.set_ylabel("z along the direction (no unit)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    if len(steps) == 1:
        axes.set_xlim(steps[0] - 1, steps[0] + 1)
    # Above the axes, where it hides no part of a line that may be anywhere.
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, frameon=False, fontsize=8)
    plain_axes(axes)


def _draw_plane(axes: Axes, found: Directions, ids: NDArray, starts: NDArray, group_name: str) -> None:
    """The path, its rows coloured by id, and the last row of each phase as a large mark."""
    groups = np.unique(ids)
    few = len(groups) <= len(GROUP_COLOURS)
    palette = GROUP_COLOURS if few else colormaps["viridis"](np.linspace(0.0, 1.0, len(groups)))
    ends = np.append(starts - 1, len(ids) - 1)
    thin = np.arange(0, len(ids), -(-len(ids) // DOTS))
    for piece in np.split(found.coordinates, starts):
        axes.plot(*piece.T, color=GREY, linewidth=0.6, alpha=0.35, zorder=1)
    for group, colour in zip(groups, palette, strict=False):
        rows = thin[ids[thin] == group]
        last = ends[ids[ends] == group]
        axes.plot(
            *found.coordinates[rows].T,
            ".",
            color=colour,
            markersize=3.5,
            alpha=0.45,
            markeredgewidth=0,
            zorder=2,
        )
        axes.plot(
            *found.coordinates[last].T,
            "o",
            color=colour,
            markersize=7.5,
            markeredgecolor="white",
            markeredgewidth=0.9,
            zorder=3,
            label=f"{group_name} {group}",
        )
    axes.plot(0, 0, "+", color=INK, markersize=11, markeredgewidth=1.6, zorder=4, label="z = 0")
    axes.set_xlabel(f"direction 1 ({_percent(found.shares[0])} of variance)")
    axes.set_ylabel(f"direction 2 ({_percent(found.shares[1])} of variance)")
    axes.set_title("large mark: end of a phase", loc="left", fontsize=8.5, color=INK)
    axes.margins(0.08)
    if few:
        axes.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False, handletextpad=0.2
        )
    else:
        text = f"colour: {len(groups)} {group_name}s by id"
        axes.set_title(f"large mark: end of a phase\n{text}", loc="left", fontsize=8.5, color=INK)
    plain_axes(axes, "both")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


# The model's prediction error


class Bins(NamedTuple):
    """Values grouped by how many steps after the change they fell, empty groups left out."""

    centres: NDArray  # [K] mean of the steps in the bin
    counts: NDArray  # [K]
    means: NDArray  # [K, ...]
    standard_errors: NDArray  # [K, ...] s / sqrt(n), NaN where the bin holds one value


def bin_by_step(steps: ArrayLike, values: ArrayLike, bins: int = 24) -> Bins:
    """Mean and standard error of values [n, ...] in bins of steps [n] >= 0 that grow with the logarithm of step + 1.

    The edges are integers, so the first steps have a bin each, where there are enough bins.
    """
    step = np.asarray(steps)
    y = np.asarray(values, dtype=np.float64)
    edges = np.unique(np.geomspace(1, step.max(initial=0) + 2, bins + 1).round())
    _, place, counts = np.unique(
        np.searchsorted(edges, step + 1, side="right"), return_inverse=True, return_counts=True
    )
    K = len(counts)
    columns = y.reshape(len(y), -1)

    def mean(x: NDArray) -> NDArray:
        return (
            np.stack([np.bincount(place, weights=column, minlength=K) for column in x.T], 1) / counts[:, None]
        )

    means = mean(columns)
    # s^2 / n = sum (y - mean)^2 / (n - 1) / n = mean (y - mean)^2 / (n - 1)
    freedom = np.where(counts > 1, counts - 1.0, np.nan)
    errors = np.sqrt(mean((columns - means[place]) ** 2) / freedom[:, None])
    shape = (K, *y.shape[1:])
    centres = np.bincount(place, weights=step, minlength=K) / counts
    return Bins(centres, counts, means.reshape(shape), errors.reshape(shape))


def model_figure(
    steps_since_change: ArrayLike,
    error_before: ArrayLike,
    error_after: ArrayLike,
    *,
    bins: int = 24,
    error_name: str = "mean squared prediction error",
    title: str = "The model's prediction error after a change",
) -> Figure:
    """Prediction error of the model with z = 0 and with z fitted, over the steps since the phase changed.

    Lines are means over bins that grow with the logarithm of the steps, bands ± one standard error of the mean, which
    takes the rows of a bin as independent.

    Args:
        steps_since_change: [n] steps since the phase of the row's environment began, 0 for its first.
        error_before: [n] error of the prediction with z = 0.
        error_after: [n] error of the prediction of the same row with z fitted.
        bins: at most so many.
        error_name: what the error is, with its unit.
        title: of the figure.
    """
    steps = np.asarray(steps_since_change)
    before = np.asarray(error_before, dtype=np.float64)
    after = np.asarray(error_after, dtype=np.float64)
    if steps.ndim != 1 or not steps.shape == before.shape == after.shape:
        raise ValueError(
            f"The steps have shape {steps.shape}, the errors {before.shape} and {after.shape}; give [n] for each."
        )
    errors = np.stack([before, after], 1)
    if not np.isfinite(errors).all() or steps.min(initial=0) < 0:
        raise ValueError("Steps since a change are at least 0 and errors are finite; leave other rows out.")
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=INK, fontweight="bold")
    axes.set_xlabel("steps since the phase changed (first step: 1)")
    axes.set_ylabel(error_name)
    plain_axes(axes)
    if not steps.size:
        return figure
    binned = bin_by_step(steps, errors, bins)
    for k, (name, colour, marker) in enumerate((("z = 0", VERMILION, "o"), ("z fitted", BLUE, "D"))):
        mean, error = binned.means[:, k], binned.standard_errors[:, k]
        axes.plot(
            binned.centres + 1, mean, color=colour, linewidth=1.6, marker=marker, markersize=3.5, label=name
        )
        axes.fill_between(
            binned.centres + 1, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(left=0.85)
    if binned.means.min() >= 0:
        axes.set_ylim(bottom=0.0)
    axes.legend(
        title="mean ± standard error",
        title_fontsize=8,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
    )
    return figure


# The return by episode since the change


def episode_returns(records: Sequence[Mapping[str, Any]]) -> NDArray:
    """Returns [C, W + S] of the W warm-up episodes and then the S scored ones of C records."""
    rows = [[*r["warmup_returns"], *r["returns"]] for r in records]
    lengths = {(len(r["warmup_returns"]), len(r["returns"])) for r in records}
    if len(lengths) > 1:
        raise ValueError(
            f"The records have (warm-up, scored) episodes {sorted(lengths)}; give records of one evaluation, which "
            "have the same number of both."
        )
    return np.asarray(rows, dtype=np.float64)


def episodes_figure(
    records: Sequence[Mapping[str, Any]], *, title: str = "Return by episode since the change"
) -> Figure:
    """Mean return over contexts by episode since the change, unadapted and adapted, with its 95 % interval.

    The band is what other contexts of the same range would give (bootstrap over contexts, `intervals`); one context
    has none. `records` are the `contexts` of evaluation.json; warm-up episodes are shaded.
    """
    episode_returns(records)  # all records have the same episodes
    by_split = {split: [r for r in records if r["split"] == split] for split in SPLITS}
    by_split = {split: chosen for split, chosen in by_split.items() if chosen}
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontweight="bold", fontsize=12)
    if not by_split:
        return figure
    grid = figure.subplots(1, len(by_split), sharey=True, squeeze=False)[0]
    for axes, (split, chosen) in zip(grid, by_split.items(), strict=True):
        _draw_episodes(axes, chosen)
        contexts = len({r["context_id"] for r in chosen})
        axes.set_title(f"{SPLIT_NAMES[split]} ({contexts})", loc="left", fontsize=10, color=INK)
    grid[0].set_ylabel("return: mean over contexts, 95 % interval")
    handles = {
        name: handle for axes in grid for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="upper right", ncols=3, frameon=False)
    return figure


def _draw_episodes(axes: Axes, records: Sequence[Mapping[str, Any]]) -> None:
    warmup = len(records[0]["warmup_returns"])
    scored = len(records[0]["returns"])
    numbers = np.arange(1, warmup + scored + 1)
    if warmup:
        axes.axvspan(
            0.5, warmup + 0.5, color=GREY, alpha=0.14, linewidth=0, zorder=0, label="warm-up, not scored"
        )
    for adapted, name, colour, marker, _ in KINDS:
        chosen = [r for r in records if r["adapted"] == adapted]
        if not chosen:
            continue
        estimates = [interval(column, over="contexts") for column in episode_returns(chosen).T]
        mean, low, high = np.array(estimates).reshape(-1, 3).T
        axes.plot(numbers, mean, color=colour, linewidth=1.6, marker=marker, markersize=4.5, label=name)
        axes.fill_between(numbers, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.set_xlim(0.5, max(len(numbers), 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("episode since the change (first: 1)")
    plain_axes(axes)
