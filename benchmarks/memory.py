"""What a DNC costs: ours by its kernels and by its reference, the package `dnc`, and an LSTM for scale.

    python -m benchmarks.memory            # everything, some twenty minutes on two cores
    python -m benchmarks.memory --quick    # the summary alone, under a minute

Contenders are timed in turn within one process, round after round, so that whatever else the machine does meets all of
them; given are medians with the distance between the quartiles. A run is one forward pass over T steps of B sequences
without gradients, or one forward and backward pass. Results are kept in benchmarks/results: memory.json, memory.md and
memory.png; --quick prints and keeps nothing.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

# Before torch, whose threads it keeps from spinning for long.
from memagent.memory import DNC, MemoryConfig

# isort: split
import torch
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import nn

RESULTS = Path(__file__).parent / "results" / "memory.json"
INPUTS, HIDDEN, WIDTH, HEADS = 16, 128, 64, 4
CONTENDERS = ("fused", "reference", "dnc", "lstm", "compiled")


class Case(NamedTuple):
    """What is run: T steps of B sequences, N slots, with or without links, with or without a backward pass."""

    T: int
    B: int
    N: int
    links: bool
    backward: bool


DEFAULT = Case(T=40, B=32, N=128, links=True, backward=True)
ACTING = Case(T=1, B=16, N=128, links=True, backward=False)
PEAK = Case(T=72, B=32, N=128, links=True, backward=True)


@dataclass(frozen=True)
class Options:
    """What to measure."""

    quick: bool = False
    """Only the summary: the default case and acting."""
    threads: int = os.cpu_count() or 1
    """Threads of PyTorch and of the kernels."""
    slots: tuple[int, ...] = (32, 128, 512)
    """N, the numbers of slots to go through; the largest is most of the time."""
    seconds: float = 4.0
    """How long the rounds of one case go on, roughly; at least three rounds are run, after one that warms up."""
    child: str = ""
    """What a process started by this one measures: "peak:CONTENDER", "growth" or "threads"."""


# ------------------------------------------------------------------------------------------------------- contenders


def run_dnc(case: Case, backend: str) -> Callable[[], object]:
    """Our DNC: "fused", "reference", or "compiled", the reference with its step under torch.compile."""
    name: Any = "fused" if backend == "fused" else "reference"
    memory = DNC(MemoryConfig(memory_size=case.N, temporal_links=case.links, backend=name), INPUTS)
    if backend == "compiled":
        memory._step = torch.compile(memory._step)  # type: ignore[method-assign]
    x, start = torch.randn(case.T, case.B, INPUTS), torch.zeros(case.T, case.B, dtype=torch.bool)
    state = memory.initial_state(case.B)
    return _passes(lambda: memory(x, start, state)[0], case.backward)


def run_package(case: Case) -> Callable[[], object]:
    """The package `dnc`, of the same sizes."""
    try:
        import dnc
    except ImportError:
        raise SystemExit(
            "The package dnc is missing, expected it to compare with: pip install --no-deps dnc==1.1.0"
        ) from None
    sizes = {
        "input_size": INPUTS,
        "hidden_size": HIDDEN,
        "nr_cells": case.N,
        "cell_size": WIDTH,
        "read_heads": HEADS,
    }
    memory = dnc.DNC(
        **sizes, rnn_type="lstm", num_layers=1, num_hidden_layers=1, batch_first=False, gpu_id=-1
    )
    x = torch.randn(case.T, case.B, INPUTS)
    return _passes(lambda: memory(x, (None, None, None), reset_experience=True)[0], case.backward)


def run_lstm(case: Case) -> Callable[[], object]:
    """torch.nn.LSTM with as many units as the DNC's controller."""
    memory, x = nn.LSTM(INPUTS, HIDDEN), torch.randn(case.T, case.B, INPUTS)
    return _passes(lambda: memory(x)[0], case.backward)


def _passes(forward: Callable[[], torch.Tensor], backward: bool) -> Callable[[], object]:
    def with_backward() -> None:
        forward().sum().backward()

    return with_backward if backward else torch.no_grad()(forward)


def build(contender: str, case: Case) -> Callable[[], object]:
    """One run of a contender, to be called again and again."""
    torch.manual_seed(0)
    if contender == "dnc":
        return run_package(case)
    return run_lstm(case) if contender == "lstm" else run_dnc(case, contender)


def takes_part(contender: str, case: Case) -> bool:
    """Whether a contender can run a case, in memory and in time.

    The package has no switch for links. Unfused, a backward pass keeps some ten copies of L per step. Compilation is
    a minute per shape: the default case and acting.
    """
    copies = case.T * 10 if case.backward else 4
    fits = case.B * case.N**2 * 4 * copies < 6e9
    if contender == "dnc":
        return case.links and fits
    if contender == "compiled":
        return case in (DEFAULT, DEFAULT._replace(backward=False), ACTING)
    return fits or contender in ("fused", "lstm")


# -------------------------------------------------------------------------------------------------------- measuring


def in_turn(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of every run of every contender, in rounds."""
    for run in runs.values():
        run()  # compile, load, allocate
    times: dict[str, list[float]] = {name: [] for name in runs}
    begin = time.perf_counter()
    while len(next(iter(times.values()))) < 3 or time.perf_counter() - begin < seconds:
        for name, run in runs.items():
            before = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - before))
    return times


def measure(case: Case, contenders: tuple[str, ...], seconds: float) -> list[dict[str, Any]]:
    """One row for each contender that takes part."""
    runs = {name: build(name, case) for name in contenders if takes_part(name, case)}
    rows = []
    for name, times in in_turn(runs, seconds).items():
        low, median, high = statistics.quantiles(times, n=4)
        row = {"contender": name, **case._asdict(), "ms": median, "spread_ms": high - low, "runs": len(times)}
        flops = lstm_flops(case) if name == "lstm" else dnc_flops(case)
        rows.append(row | {"gflops_per_s": flops / median / 1e6})
    return rows


def lstm_flops(case: Case, inputs: int = INPUTS) -> float:
    """Multiplications and additions in an LSTM's products; a backward pass has twice those of the forward pass."""
    return (3 if case.backward else 1) * case.T * case.B * 2 * 4 * HIDDEN * (inputs + HIDDEN)


def dnc_flops(case: Case) -> float:
    """The same of a DNC: LSTM and interface, and all that walks M (look-up, write, read) or L (update, f, b)."""
    interface = WIDTH * HEADS + 3 * WIDTH + (5 if case.links else 2) * HEADS + 3
    content = (HEADS + 1) * 2 + 4 + 2 * HEADS  # per element of M: cosines and norms, write, reads
    links = 5 + 4 * HEADS  # per element of L: update, f and b
    memory = case.N * WIDTH * content + (case.N**2 * links if case.links else 0)
    steps = (3 if case.backward else 1) * case.T * case.B
    return lstm_flops(case, INPUTS + HEADS * WIDTH) + steps * (2 * HIDDEN * interface + memory)


def matmul_gflops(size: int = 1024, rounds: int = 20) -> float:
    """The machine's own rate in float32, best of some products of square matrices by PyTorch."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    seconds = []
    for _ in range(rounds):
        before = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - before)
    return 2 * size**3 / min(seconds) / 1e9


def grid(slots: tuple[int, ...]) -> Iterator[Case]:
    """Every case, the small ones first."""
    cases = (Case(*c) for c in product((1, 40, 72), (1, 16, 32, 128), slots, (True, False), (False, True)))
    return iter(sorted(cases, key=dnc_flops))


# -------------------------------------------------------------------------------------- measured in their own process


def resident_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_mb(contender: str) -> dict[str, float]:
    """Peak memory of five runs of the case PEAK: of the whole process, and beyond what it had before them."""
    build(contender, PEAK._replace(T=1, B=1))()
    before = resident_mb()
    run = build(contender, PEAK)
    for _ in range(5):
        run()
    status = Path("/proc/self/status").read_text()  # getrusage would count the process that started this one
    peak = float(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    return {"process_mb": peak, "beyond_mb": peak - before}


def growth_mb(steps: int = 1_000) -> dict[str, float]:
    """How much a process grows from the 100th to the last training step, with acting between them."""
    case = Case(T=16, B=16, N=128, links=True, backward=True)
    train, act = build("fused", case), build("fused", ACTING)
    for step in range(steps):
        train()
        act()
        if step == 99:
            before = resident_mb()
    return {"steps": steps, "grown_mb": resident_mb() - before}


def thread_settings(seconds: float) -> dict[str, float]:
    """Milliseconds of a training step and of acting, with PyTorch layers around the memory, as agents have."""
    encoder, memory, head = (
        nn.Linear(64, HIDDEN),
        DNC(MemoryConfig(), HIDDEN),
        nn.Linear(HIDDEN + HEADS * WIDTH, 128),
    )

    def unroll(case: Case) -> torch.Tensor:
        x, start = torch.randn(case.T, case.B, 64), torch.zeros(case.T, case.B, dtype=torch.bool)
        return head(memory(encoder(x).relu(), start, memory.initial_state(case.B))[0])

    cases = {"training_ms": DEFAULT, "acting_ms": ACTING}
    runs = {name: _passes(lambda case=case: unroll(case), case.backward) for name, case in cases.items()}  # type: ignore[misc]
    return {name: statistics.median(times) for name, times in in_turn(runs, seconds).items()}


def child(task: str, threads: int, **environment: str) -> Any:
    """What this module measures as --child task in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--child", task, "--threads", str(threads)]
    out = subprocess.run(
        command, env=os.environ | environment, check=True, capture_output=True, text=True
    ).stdout
    return json.loads(out.splitlines()[-1])


def answer(options: Options) -> Any:
    """What a child was started for."""
    task, _, contender = options.child.partition(":")
    if task == "peak":
        return peak_mb(contender)
    return growth_mb() if task == "growth" else thread_settings(options.seconds)


# ------------------------------------------------------------------------------------------------------------ report


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
    lines += ["", "Milliseconds, median ± distance between the quartiles:", ""]
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


def machine(threads: int) -> dict[str, Any]:
    """Where and with what this was measured."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    about = {"cpu": names[0] if names else platform.processor(), "cores": os.cpu_count(), "threads": threads}
    return about | versions | {"load": os.getloadavg()[0], "matmul_gflops_per_s": matmul_gflops()}


def main(options: Options) -> None:
    """Measure, print, keep."""
    torch.set_num_threads(options.threads)
    if options.child:
        print(json.dumps(answer(options)))
        return
    result: dict[str, Any] = {
        "machine": machine(options.threads),
        "sizes": {"I": INPUTS, "H": HIDDEN, "W": WIDTH, "R": HEADS},
    }
    rows = measure(DEFAULT, ("fused", "reference", "dnc", "lstm"), options.seconds)
    for case in (ACTING, ACTING._replace(links=False)):
        rows += measure(case, ("fused",), options.seconds / 4)
    result["summary"] = summarise(rows)
    if options.quick:
        print(table(result | {"rows": rows}))
        return
    rows = []
    for case in grid(options.slots):
        rows += measure(case, CONTENDERS, options.seconds)
        print(
            " ".join(f"{r['contender']} {r['ms']:.3g}" for r in rows if r["contender"] and r in rows[-5:]),
            case,
            flush=True,
        )
    result["peak_memory"] = {
        name: child(f"peak:{name}", options.threads) for name in ("fused", "reference", "dnc", "lstm")
    }
    result["growth"] = child("growth", options.threads)
    result["threads"] = [
        {"threads": n, **settings} | child("threads", n, **settings)
        for n in dict.fromkeys((1, options.threads))
        for settings in ({}, {"GOMP_SPINCOUNT": "300000"}, {"OMP_WAIT_POLICY": "PASSIVE"})
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result | {"rows": rows}, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(table(result | {"rows": rows}) + "\n")
    picture(rows).savefig(RESULTS.with_suffix(".png"), dpi=120)
    print(table(result | {"rows": rows}))


if __name__ == "__main__":
    main(tyro.cli(Options))
