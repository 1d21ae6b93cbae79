"""How often an interval over runs holds the true mean, where the runs of a seed are good or bad on all contexts alike.

    python -m benchmarks.interval_coverage

draws scores of R runs on 8 contexts, half of whose variance is of the run, and counts how often the 95 % interval of
their mean holds the true one: with whole runs drawn anew, and with runs drawn anew within each context. Writes
benchmarks/results/interval_coverage.json.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks.tables import markdown
from memagent.evaluation.intervals import Over, interval

RESULTS = Path(__file__).parent / "results" / "interval_coverage.json"
RUNS = (3, 5, 10)
CONTEXTS = 8
WAYS: tuple[Over, ...] = ("whole runs", "runs")


@dataclass(frozen=True)
class Options:
    """How much is drawn."""

    draws: int = 300
    """Sets of scores for each number of runs."""
    resamples: int = 1_000
    """Bootstrap samples of each."""


def main(options: Options) -> None:
    """Count, and write the results."""
    shares: dict[str, dict[int, float]] = {over: {} for over in WAYS}
    for runs in RUNS:
        random, held = np.random.default_rng(runs), dict.fromkeys(WAYS, 0)
        for _ in range(options.draws):
            scores = random.normal(size=(runs, 1)) + random.normal(size=(runs, CONTEXTS))
            for over in WAYS:
                found = interval(scores, over=over, resamples=options.resamples)
                held[over] += found.low <= 0.0 <= found.high
        for over in WAYS:
            shares[over][runs] = round(held[over] / options.draws, 3)
    data = {
        "command": "python -m benchmarks.interval_coverage",
        "draws": options.draws,
        "contexts": CONTEXTS,
        "held": shares,
    }
    RESULTS.write_text(json.dumps(data, indent=1) + "\n")
    rows = [[str(runs), *(f"{100 * shares[over][runs]:.0f} %" for over in WAYS)] for runs in RUNS]
    print(markdown(["runs", *WAYS], rows))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
