"""How the charts of a page look: colours for a light and a dark page, panels under each other, bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib import colormaps
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from memagent.evaluation.figures import BLUE, GREY, INK, VERMILION

GREEN, PURPLE = "#009E73", "#CC79A7"
LINES = (BLUE, VERMILION, GREEN, PURPLE, "#E69F00", "#56B4E9")
"""Okabe and Ito 2008, as in `figures`."""
DARK = {
    BLUE: "#4CB2F0",
    VERMILION: "#F58A4B",
    GREY: "#9AA4AF",
    GREEN: "#2CCB9C",
    PURPLE: "#E3A4C6",
    INK: "#E6EDF3",
}
"""What stands for a colour on a dark page; others do for both."""
SHADES = 64
VIRIDIS: list[list[int]] = (
    (colormaps["viridis"](np.linspace(0, 1, SHADES))[:, :3] * 255).round().astype(int).tolist()
)
MARGIN = {"l": 58, "r": 14, "t": 34, "b": 46}
GAP = 40  # pixels between panels


def chart(x: str, y: str, *, title: str = "", height: int = 320) -> go.Figure:
    """An empty chart with named axes."""
    made = go.Figure(layout=_layout(height))
    made.update_layout(xaxis_title_text=x, yaxis_title_text=y)
    made.update_yaxes(automargin=True)
    if title:
        made.add_annotation(text=title, **_above(1.0))
        made.update_layout(legend_y=1.0, legend_x=1.0, legend_xanchor="right")
    return made


def panels(rows: Sequence[tuple[str, int]]) -> go.Figure:
    """Empty panels under each other over one x axis: names and heights in pixels."""
    inner = sum(height for _, height in rows) + GAP * (len(rows) - 1)
    made = make_subplots(
        rows=len(rows),
        cols=1,
        shared_xaxes=True,
        row_heights=[height / inner for _, height in rows],
        vertical_spacing=GAP / inner if len(rows) > 1 else 0,
    )
    made.update_layout(_layout(inner + MARGIN["t"] + MARGIN["b"]))
    top = 1.0
    for name, height in rows:
        made.add_annotation(text=name, **_above(top))
        top -= (height + GAP) / inner
    made.update_layout(legend_x=1.0, legend_xanchor="right")
    return made


def band(made: go.Figure, x: ArrayLike, low: NDArray, high: NDArray, colour: str) -> None:
    """Fill between two lines."""
    made.add_scatter(
        x=np.concatenate([x, np.flip(x)]),
        y=np.concatenate([high, np.flip(low)]),
        fill="toself",
        fillcolor=colour,
        opacity=0.2,
        line={"width": 0, "color": colour},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )


def bands(made: go.Figure, bounds: Sequence[float]) -> None:
    """Shade every second stretch between bounds, over all panels."""
    for start, end in zip(bounds[1:-1:2], bounds[2::2], strict=False):
        made.add_shape(
            type="rect",
            x0=start,
            x1=end,
            y0=0,
            y1=1,
            yref="paper",
            fillcolor=GREY,
            opacity=0.16,
            line_width=0,
            layer="below",
        )


def line(made: go.Figure, x: float, colour: str, *, name: str = "", dash: str = "solid") -> None:
    """A line upright through all panels."""
    style = {"color": colour, "width": 1.6, "dash": dash}
    made.add_shape(type="line", x0=x, x1=x, y0=0, y1=1, yref="paper", line=style, name=name or None)


def _layout(height: int) -> dict[str, Any]:
    return {
        "template": "none",
        "height": height,
        "autosize": True,
        "margin": MARGIN,
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0.0, "bgcolor": "rgba(0,0,0,0)"},
        "hovermode": "closest",
    }


def _above(y: float) -> dict[str, Any]:
    """Where the name of a panel stands that ends at `y`."""
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": y, "xanchor": "left", "yanchor": "bottom"}
    return {**place, "showarrow": False, "yshift": 2}
