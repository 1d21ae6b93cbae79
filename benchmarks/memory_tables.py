"""What the runs of benchmarks.memory say: the figures that stand for all, a table in Markdown, growth as a picture."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.memory_contenders import ACTING, CONTENDERS, DEFAULT, Case


def find(rows: list[dict[str, Any]], contender: str, case: Case) -> float:
    """The median of a contender in a case, in ms."""
    return next(
        r["ms"] for r in rows if r["contender"] == contender and Case(*(r[f] for f in Case._fields)) == case
    )


def summarise(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The figures that stand for all."""
    fused, others = (
        find(rows, "fused", DEFAULT),
        {n: find(rows, n, DEFAULT) for n in ("dnc", "reference", "lstm")},
    )
    return {
        "speedup_vs_dnc": others["dnc"] / fused,
        "speedup_vs_reference": others["reference"] / fused,
        "times_nn_lstm": fused / others["lstm"],
        "acting_ms_b16": find(rows, "fused", ACTING),
        "acting_ms_b16_no_links": find(rows, "fused", ACTING._replace(links=False)),
    }


def table(result: dict[str, Any]) -> str:
    """Markdown: the summary, then every case, one column for each contender."""
    lines = ["| | |", "|---|---|"]
    lines += [f"| {name} | {value:.3g} |" for name, value in result["summary"].items()]
    rows, names = result["rows"], [n for n in CONTENDERS if any(r["contender"] == n for r in result["rows"])]
    lines += [
        "",
        "Milliseconds, median ± distance between the quartiles. Empty where a contender has no such option or",
    ]
    lines += ["would need more than 6 GB; compiled are the default case and acting alone.", ""]
    lines += [
        "| T | B | N | links | pass | " + " | ".join(names) + " | fused GFLOP/s |",
        "|---" * (len(names) + 6) + "|",
    ]
    for case in dict.fromkeys(Case(*(r[f] for f in Case._fields)) for r in rows):
        cells = {r["contender"]: r for r in rows if Case(*(r[f] for f in Case._fields)) == case}
        ms = [f"{cells[n]['ms']:.3g} ± {cells[n]['spread_ms']:.2g}" if n in cells else "" for n in names]
        about = (
            case.T,
            case.B,
            case.N,
            "yes" if case.links else "no",
            "both" if case.backward else "forward",
        )
        lines.append(
            "| " + " | ".join(map(str, (*about, *ms, f"{cells['fused']['gflops_per_s']:.3g}"))) + " |"
        )
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Growth with T, B and N, the others at the default."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, letter in zip(figure.subplots(1, 3, sharey=True), "TBN", strict=True):
        for name in ("fused", "reference", "dnc", "lstm"):
            along = [r for r in rows if r["contender"] == name and _differs_in(r, letter)]
            along.sort(key=lambda row: row[letter])
            axes.plot([r[letter] for r in along], [r["ms"] for r in along], "o-", label=name)
        axes.set(xscale="log", yscale="log", xlabel=letter, title=f"growth with {letter}")
        axes.set_xticks(
            sorted({r[letter] for r in rows}), [str(v) for v in sorted({r[letter] for r in rows})]
        )
        axes.xaxis.set_minor_formatter(NullFormatter())
    figure.axes[0].set_ylabel("forward and backward, ms")
    figure.axes[0].legend(frameon=False)
    return figure


def _differs_in(row: dict[str, Any], letter: str) -> bool:
    return all(row[f] == getattr(DEFAULT, f) for f in Case._fields if f != letter)
