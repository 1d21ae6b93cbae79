"""The references that scores are normalised by: random actions (0) and an agent that is told the context (1).

    python -m benchmarks.references

plays random actions on 16 contexts of the training ranges of every drifting id and on 16 held-out ones, and keeps the
mean returns in envs/catalogue/scores.json, where `evaluate.py` finds them. The oracle's are those that
benchmarks.adaptation and benchmarks.continuous keep, the mean over its seeds; ids where it is not above random actions
get none. `--ids` does some ids and leaves the others as they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tyro

import envs
from benchmarks.runs import Run, load, scores
from envs.catalogue.scores import FILE
from evaluate import choose_contexts, hold, make_env
from memagent.evaluation.metrics import SPLITS, summarise
from memagent.evaluation.players import RandomPlayer
from memagent.evaluation.protocol import play_contexts
from memagent.run_config import EvaluationConfig, RunConfig

ORACLES = tuple(Path(__file__).parent / "results" / f"{name}.json" for name in ("adaptation", "continuous"))
EVALUATION = EvaluationConfig(contexts=16, episodes=5, warmup_episodes=0, seed=1_000)

Scores = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Play random actions, look the oracle's scores up, and write envs/catalogue/scores.json."""

    ids: tuple[str, ...] = tuple(envs.CATALOGUE)
    """Drifting ids."""


def main(options: Options) -> None:
    """Measure and write, id by id."""
    if unknown := set(options.ids) - set(envs.CATALOGUE):
        raise SystemExit(f"There is no {', '.join(sorted(unknown))}; there are {', '.join(envs.CATALOGUE)}.")
    runs = [run for path in ORACLES for run in load(path)["runs"]]
    known: Scores = json.loads(FILE.read_text())["scores"] if FILE.is_file() else {}
    for name in options.ids:
        known[name] = references(name, random_scores(name), runs)
        print(f"{name}: {json.dumps(known[name])}", flush=True)
        save(known)


def random_scores(name: str, settings: EvaluationConfig = EVALUATION) -> dict[str, float]:
    """The mean return of random actions over the contexts of each split."""
    config = replace(RunConfig(env=name), evaluation=settings)
    records = play_contexts(
        choose_contexts(config),
        lambda held: hold(make_env(config, len(held), settings.seed), held),
        lambda num_envs, _: RandomPlayer(make_env(config, 1, 0).action_space, num_envs, settings.seed),
        settings.episodes,
        settings.warmup_episodes,
        (False,),
        progress=True,
    )
    summary = summarise(records)
    return {split: score for split in SPLITS if (score := summary[split]["unadapted"]) is not None}


def references(name: str, random: dict[str, float], runs: Sequence[Run]) -> Scores:
    """The references of an id by split, and where the oracle's come from.

    Args:
        name: the id.
        random: mean returns by split.
        runs: of benchmarks, with `task`, `agent`, `steps` and `contexts`; those of other tasks and agents are ignored.
    """
    told = [run for run in runs if (run["task"], run["agent"]) == (name, "oracle")]
    found: Scores = {split: {"random": round(score, 2)} for split, score in random.items()}
    if not told:
        return found
    for split, score in random.items():
        oracle = float(scores(told, split, adapted=False).mean())
        if oracle > score:
            found[split]["oracle"] = round(oracle, 2)
    return found | {"oracle": {"seeds": len(told), "steps": told[0]["steps"]}}


def save(known: Scores) -> None:
    """Write the file, in the catalogue's order."""
    data = {
        "command": "python -m benchmarks.references",
        "settings": asdict(EVALUATION),
        "scores": {name: known[name] for name in envs.CATALOGUE if name in known},
    }
    FILE.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
