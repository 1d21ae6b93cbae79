"""Pictures of a run: the training stream, the contexts, the memory over an episode.

Every function returns a Matplotlib `Figure` of its own: no window, no pyplot, no global state. Two colours and a shape
each (Okabe and Ito 2008) and viridis stay apart for readers with any colour vision.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import ArrayLike, NDArray

from memagent.evaluation.metrics import SPLIT_NAMES, SPLITS

BLUE, VERMILION, GREY, INK = "#0072B2", "#D55E00", "#7A828C", "#24292F"
KINDS = ((False, "unadapted", VERMILION, "o", 0.17), (True, "adapted", BLUE, "D", -0.17))
WIDTH = 9.0  # inches
DOTS = 4000
LINES_UP_TO = 40
FEWEST_SLOTS = 8
USED = 0.01  # usage above which a slot of a memory is shown


def png(figure: Figure, dpi: int = 130) -> bytes:
    """The picture as a PNG file's bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()


def literal(text: str) -> str:
    """A name of somebody else's as it is: for Matplotlib $ begins mathematics, and _ what no legend lists."""
    shown = text.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{shown}" if text.startswith("_") else shown


# The training stream


def stream_figure(
    steps: ArrayLike,
    returns: ArrayLike,
    phase_changes: ArrayLike = (),
    *,
    title: str = "Return over the training stream",
) -> Figure:
    """Return of every episode over the training stream, with its running mean and the phase changes.

    Few changes are lines through the picture; many (several environments, short phases) are ticks below it.

    Args:
        steps: [n] steps, over all environments, at which episodes ended.
        returns: [n] their returns.
        phase_changes: [K] steps at which the phase of an environment changed.
        title: of the figure.
    """
    x, y, changes = np.asarray(steps), np.asarray(returns, dtype=np.float64), np.asarray(phase_changes)
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = bottom = _stream_axes(figure, changes)
    if len(changes) > LINES_UP_TO:
        axes, bottom = figure.axes
    # Ten thousands of dots hide each other: an even share of them shows the spread as well.
    thin = max(1, len(x) // DOTS)
    size = float(np.interp(len(x) / thin, [100, 2000], [7.0, 3.5]))
    axes.plot(
        x[::thin], y[::thin], ".", color=GREY, markersize=size, alpha=0.5, markeredgewidth=0, label="episode"
    )
    axes.plot(x, running_mean(y), color=BLUE, linewidth=1.8, label="running mean")
    axes.set_title(title, loc="left", color=INK, fontweight="bold")
    axes.set_ylabel("return")
    bottom.set_xlabel("environment steps")
    bottom.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.legend(loc="lower right", framealpha=0.9, edgecolor="none", markerscale=7.0 / size)
    plain_axes(axes)
    return figure


def _stream_axes(figure: Figure, changes: NDArray) -> Axes:
    """The axes of the returns, with the phase changes on them or in a strip of ticks below."""
    if len(changes) <= LINES_UP_TO:
        axes = figure.add_subplot()
        for k, change in enumerate(changes):
            label = "phase change" if k == 0 else None
            axes.axvline(
                change,
                color=VERMILION,
                linewidth=1.0,
                alpha=0.55,
                linestyle=(0, (4, 2)),
                zorder=1,
                label=label,
            )
        return axes
    grid = figure.add_gridspec(2, 1, height_ratios=(14, 1), hspace=0.02)
    axes = figure.add_subplot(grid[0])
    strip = figure.add_subplot(grid[1], sharex=axes)
    strip.vlines(changes, 0, 1, color=VERMILION, linewidth=0.8, alpha=0.6)
    strip.set(ylim=(0, 1), yticks=[])
    strip.set_ylabel("phase\nchanges", rotation=0, ha="right", va="center", fontsize=8, color=INK)
    strip.spines[:].set_visible(False)
    axes.tick_params(labelbottom=False, bottom=False)
    return axes


def running_mean(values: NDArray) -> NDArray:
    """The mean over a centred window of a thirtieth of the values, at least seven, shorter at both ends."""
    if not values.size:
        return values
    half = max(3, len(values) // 60)
    sums = np.concatenate([[0.0], values.cumsum()])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


# The contexts


def contexts_figure(records: Sequence[Mapping[str, Any]], *, title: str = "Return per context") -> Figure:
    """Mean return of every context, adapted beside unadapted, with the standard deviation over its episodes.

    One row a context, labelled with its parameters; training and held-out contexts apart, the mean over each as a
    dashed line. `records` are the `contexts` of evaluation.json.
    """
    by_split = {split: [r for r in records if r["split"] == split] for split in SPLITS}
    by_split = {split: chosen for split, chosen in by_split.items() if chosen}
    heights = [len({r["context_id"] for r in chosen}) + 2.0 for chosen in by_split.values()]
    pitch = float(np.clip(14.0 / max(sum(heights), 1.0), 0.17, 0.34))  # inches a row
    figure = Figure(figsize=(WIDTH, 1.1 + pitch * sum(heights)), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontweight="bold", fontsize=12)
    figure.supxlabel("return: mean, lowest and highest episode; dashed: mean over contexts", fontsize=9)
    if not by_split:
        return figure
    grid = figure.subplots(len(by_split), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (split, chosen) in zip(grid, by_split.items(), strict=True):
        _draw_split(axes, chosen, fontsize=min(8.5, pitch * 34))
        axes.set_title(SPLIT_NAMES[split], loc="left", fontsize=10, color=INK)
    handles = {
        name: handle for axes in grid for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if any(r["adapted"] for r in records):
        figure.legend(handles.values(), handles.keys(), loc="upper right", ncols=2, frameon=False)
    return figure


def _draw_split(axes: Axes, records: Sequence[Mapping[str, Any]], fontsize: float) -> None:
    parameters = {r["context_id"]: r["context"] for r in records}
    ids = sorted(parameters)
    for adapted, name, colour, marker, offset in KINDS:
        chosen = [r for r in records if r["adapted"] == adapted]
        if not chosen:
            continue
        means = np.array([r["mean_return"] for r in chosen])
        reach = np.array([[min(r["returns"]), max(r["returns"])] for r in chosen]).T
        rows = np.array([ids.index(r["context_id"]) for r in chosen]) + offset
        axes.errorbar(
            means,
            rows,
            xerr=abs(reach - means),
            fmt=marker,
            color=colour,
            markersize=4.5,
            elinewidth=1.2,
            label=name,
        )
        if len(ids) > 1:
            axes.axvline(
                means.mean(), color=colour, linewidth=1.1, linestyle=(0, (5, 3)), alpha=0.8, zorder=1
            )
    header, labels = _row_labels([parameters[i] for i in ids], ids)
    axes.set_yticks(range(-1, len(ids)), [header, *labels], fontsize=fontsize, fontfamily="monospace")
    axes.get_yticklabels()[0].set_color(GREY)
    axes.get_yticklines()[0].set_visible(False)
    axes.set_ylim(len(ids) - 0.4, -1.4 if header else -0.6)
    plain_axes(axes, "both")
    axes.get_ygridlines()[0].set_visible(False)


def _row_labels(contexts: Sequence[Mapping[str, float]], ids: Sequence[int]) -> tuple[str, list[str]]:
    """The parameters as a table in fixed-width letters: its header and a line each; ids where there are none."""
    names = list(dict.fromkeys(name for context in contexts for name in context))
    if not names:
        return "", [f"context {i}" for i in ids]
    cells = [[f"{context[name]:.3g}" if name in context else "–" for name in names] for context in contexts]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    header, *lines = (
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in [names, *cells]
    )
    return literal(header), lines


# The memory


def memory_figure(
    usage: ArrayLike,
    write: ArrayLike,
    read: ArrayLike,
    *,
    title: str = "Memory over an episode",
) -> Figure:
    """Heat maps of a memory over one episode: usage, write weights, and the read weights of every head.

    Slots above the last one that was used are left out.

    Args:
        usage: [T, N] of the slots, in [0, 1].
        write: [T, N] write weights.
        read: [T, R, N] read weights.
        title: of the figure.
    """
    usage, write, read = (np.asarray(x, dtype=np.float64) for x in (usage, write, read))
    if usage.shape != write.shape or read.ndim != 3 or usage.shape != (read.shape[0], read.shape[2]):
        raise ValueError(
            f"The memory's traces have shapes {usage.shape}, {write.shape} and {read.shape}; give usage [T, N], "
            "write weights [T, N] and read weights [T, R, N] of one episode."
        )
    used = np.flatnonzero(usage.max(0) > USED)
    usage, write, read = (x[..., : max([FEWEST_SLOTS, *(used + 1)])] for x in (usage, write, read))
    heads = [(f"read weights, head {r + 1}", read[:, r]) for r in range(read.shape[1])]
    panels = [("usage", usage), ("write weights", write), *heads]
    columns = 1 if len(heads) == 1 else 2
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH, 0.7 + 1.75 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    # The square root brings out weights of a few hundredths, which are most of what there is.
    norm = PowerNorm(0.5, vmin=0.0, vmax=1.0)
    for axes, (name, values) in zip(grid.flat, panels, strict=False):
        image = axes.imshow(
            values.T, aspect="auto", origin="lower", cmap="viridis", norm=norm, interpolation="nearest"
        )
        axes.set_title(name, loc="left", fontsize=9.5, color=INK)
        axes.tick_params(labelsize=8)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("slot", fontsize=9)
    for axes in grid.flat[len(panels) - columns : len(panels)]:
        axes.set_xlabel("step of the episode", fontsize=9)
        axes.tick_params(labelbottom=True)
    bar = figure.colorbar(image, ax=grid, shrink=0.6, aspect=30, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontweight="bold", fontsize=12)
    return figure


def plain_axes(axes: Axes, grid: str = "y") -> None:
    """Light grid lines behind the data, and no frame but the two axes."""
    axes.grid(axis=grid, color="#D0D7DE", linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#AFB8C1")
