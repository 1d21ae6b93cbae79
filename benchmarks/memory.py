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
from typing import Any

import torch
import tyro
from torch import nn

from benchmarks.memory_contenders import (
    ACTING,
    CONTENDERS,
    DEFAULT,
    HEADS,
    HIDDEN,
    INPUTS,
    WIDTH,
    Case,
    build,
    dnc_flops,
    lstm_flops,
    passes,
    takes_part,
)
from benchmarks.memory_tables import picture, summarise, table
from memagent.memory import DNC, MemoryConfig

RESULTS = Path(__file__).parent / "results" / "memory.json"
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
    runs = {name: passes(lambda case=case: unroll(case), case.backward) for name, case in cases.items()}  # type: ignore[misc]
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
