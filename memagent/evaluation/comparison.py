"""Groups of runs that were judged alike: their scores, and what every two of them differ in, in numbers and words.

A run is judged as it acts: its score on a context is that with adaptation where it adapts, else that without. A group's
scores are a matrix [R, C]: R runs, C contexts. Intervals draw whole runs anew, since a run's scores on all contexts
come from one training; where a group is a single run they draw contexts, and say nothing of other trainings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memagent.evaluation.intervals import (
    Interval,
    difference,
    interquartile_mean,
    interval,
    paired_difference,
    probability_of_improvement,
)
from memagent.evaluation.metrics import SPLIT_NAMES, SPLITS, context_means, resumption, steps_to_threshold
from memagent.evaluation.numerals import with_ends

# Settings that make no other agent, and how it is judged, which is the same for all.
ASIDE = (
    "seed", "wandb", "device", "threads", "save_every", "save_minutes", "keep", "log_formats", "video", "eval_share",
)  # fmt: skip
# Settings that make another task, whose returns do not compare.
TASK = ("env", "env_kwargs", "wrapper")
NAMED_BY_UP_TO = 3
FEW_RUNS = 5


class Judged(NamedTuple):
    """A run that has been judged."""

    folder: PurePath
    settings: Mapping[str, Any]
    """What config.json holds."""
    evaluation: Mapping[str, Any]
    """What evaluation.json holds."""
    episodes: Mapping[str, NDArray] | None = None
    """The columns of episodes.csv, in which the training's episodes are; None where there is no such file."""
    finished: bool = True
    """Whether the training came to its end."""

    @property
    def records(self) -> Sequence[Mapping[str, Any]]:
        """A score for each context, adapted or not."""
        return self.evaluation["contexts"]

    @property
    def adapts(self) -> bool:
        """Whether it was played with adaptation."""
        return any(record["adapted"] for record in self.records)


Groups = Mapping[str, Sequence[Judged]]


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted name, value)."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and prefix + name not in TASK:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def refuse_unlike(judged: Sequence[Judged]) -> None:
    """ValueError where two runs were not judged on the same contexts of the same environment in the same way."""
    first = judged[0]
    for other in judged[1:]:
        for name in TASK:
            _refuse(first, other, name, first.settings[name], other.settings[name])
        settings = [dict(run.evaluation["settings"]) for run in (first, other)]
        for name in settings[0] | settings[1]:
            _refuse(first, other, f"evaluation.{name}", *(of_run.get(name) for of_run in settings))
        contexts = [
            {(r["split"], r["context_id"]): r["context"] for r in run.records} for run in (first, other)
        ]
        if contexts[0] != contexts[1]:
            raise ValueError(
                f"{first.folder} and {other.folder} were judged on other contexts; judge one of them anew."
            )


def _refuse(first: Judged, other: Judged, name: str, one: Any, another: Any) -> None:
    if one != another:
        raise ValueError(
            f"{first.folder} and {other.folder} cannot be compared: {name} is {json.dumps(one)} and "
            f"{json.dumps(another)}; give runs that were judged alike, or judge one of them again, into another folder."
        )


def grouped(judged: Sequence[Judged], group_by: Sequence[str] = ()) -> dict[str, list[Judged]]:
    """The runs by the values of these settings; without any, runs that differ in the seed alone are a group.

    Raises:
        ValueError: there is no such setting, or two runs are the same training.
    """
    of_runs = [dict(flat(run.settings)) for run in judged]
    for name in group_by:
        if name not in of_runs[0]:
            hint = "give names as config.json has them, with dots."
            if within := [setting for setting in of_runs[0] if setting.startswith(f"{name}.")]:
                hint = f"give one of {', '.join(within)}."
            elif near := get_close_matches(name, of_runs[0], n=1):
                hint = f"did you mean {near[0]}?"
            raise ValueError(f"--group-by has {name}, which is no setting of a run; {hint}")
    own = [name for name in of_runs[0] if name not in ASIDE and not name.startswith("evaluation.")]
    _refuse_twice(judged, of_runs, own)
    names = list(group_by) or own
    keys = [json.dumps([of_run.get(name) for name in names]) for of_run in of_runs]
    differ = [name for name in names if len({json.dumps(of_run.get(name)) for of_run in of_runs}) > 1]
    by_key: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        by_key.setdefault(key, []).append(index)
    shown = list(group_by) or differ
    groups = [[judged[i] for i in indices] for indices in by_key.values()]
    values = [{name: of_runs[indices[0]].get(name) for name in shown} for indices in by_key.values()]
    called = [
        _of_folder(runs) if not told or len(told) > NAMED_BY_UP_TO else _of_values(told)
        for runs, told in zip(groups, values, strict=True)
    ]
    if len(set(called)) < len(called):  # folders of one name
        called = [_of_values(told) for told in values]
    by_seed = (sorted(runs, key=lambda run: run.settings["seed"]) for runs in groups)
    return dict(zip(called, by_seed, strict=True))


def _refuse_twice(judged: Sequence[Judged], of_runs: Sequence[Mapping[str, Any]], own: Sequence[str]) -> None:
    """ValueError where two runs are the same training, which is no more than one."""
    seen: dict[str, Judged] = {}
    for run, settings in zip(judged, of_runs, strict=True):
        key = json.dumps([settings.get(name) for name in (*own, "seed")])
        if key in seen:
            raise ValueError(
                f"{seen[key].folder} and {run.folder} have the same settings and the same seed; leave one of them out."
            )
        seen[key] = run


def _of_folder(runs: Sequence[Judged]) -> str:
    """A group's name by the folder that its runs are in."""
    folders = {run.folder.parent if len(runs) > 1 else run.folder for run in runs}
    return min(folder.name or str(folder) for folder in folders)


def _of_values(values: Mapping[str, Any]) -> str:
    """A group's name by the settings that set it apart."""
    return ", ".join(
        value
        if isinstance(value, str)
        else f"{name.rpartition('.')[2]} {json.dumps(value)}"
        if name.count(".") == 0 or not name.endswith(".enabled")
        else f"{name.split('.')[-2]} {'on' if value else 'off'}"
        for name, value in values.items()
    )


def scores(runs: Sequence[Judged], split: str, *, adapted: bool | None = None) -> NDArray:
    """Mean returns [R, C] of runs on the contexts of a split, by id; [R, 0] where none was played.

    Each as it acts, or all with adaptation or all without.
    """
    return np.array(
        [
            list(context_means(run.records, split, run.adapts if adapted is None else adapted).values())
            for run in runs
        ]
    )


def compare(
    judged: Sequence[Judged], group_by: Sequence[str] = (), threshold: float | None = None
) -> dict[str, Any]:
    """What comparison.json holds: groups, their scores, and what every two of them differ in.

    Args:
        judged: the runs, one or more.
        group_by: dotted names of settings, as in `grouped`.
        threshold: a return; the training steps to reach it are told too.

    Raises:
        ValueError: the runs cannot be compared, or not be grouped so.
    """
    refuse_unlike(judged)
    groups = grouped(judged, group_by)
    splits = [split for split in SPLITS if scores(judged[:1], split).size]
    pairs = [
        _pair(groups, first, second, split) for split in splits for first, second in combinations(groups, 2)
    ]
    return {
        "env": judged[0].settings["env"],
        "settings": dict(judged[0].evaluation["settings"]),
        "group_by": list(group_by),
        "groups": {name: _group(runs, splits, threshold) for name, runs in groups.items()},
        "pairs": pairs,
        "sentences": [pair["sentence"] for pair in pairs] + _cautions(groups, len(pairs)),
    }


def _group(runs: Sequence[Judged], splits: Sequence[str], threshold: float | None) -> dict[str, Any]:
    """The scores of a group on every split, and of its trainings."""
    adapting = [run for run in runs if run.adapts]
    of_splits = {}
    for split in splits:
        matrix = scores(runs, split)
        found = {"mean": interval(matrix, over=_over(matrix))}
        found["iqm"] = interval(matrix, interquartile_mean, over=_over(matrix))
        found["unadapted"] = interval(plain := scores(runs, split, adapted=False), over=_over(plain))
        if adapting:
            with_it, without = (scores(adapting, split, adapted=kind) for kind in (True, False))
            found["gain"] = paired_difference(with_it, without, over=_over(with_it))
        of_splits[split] = {name: _as_json(score) for name, score in found.items()}
        of_splits[split]["runs"] = matrix.mean(1).tolist()
    return {
        "folders": [str(run.folder) for run in runs],
        "seeds": [run.settings["seed"] for run in runs],
        "scores": of_splits,
        "training": _training(runs, threshold),
    }


def _training(runs: Sequence[Judged], threshold: float | None) -> dict[str, Any]:
    """What the training streams of a group tell: steps to a threshold, and what an old context's return costs."""
    logged = [run.episodes for run in runs if run.episodes is not None]
    told: dict[str, Any] = {}
    if threshold is not None:
        told["steps_to_threshold"] = [
            steps_to_threshold(episodes["step"], episodes["return"], threshold) for episodes in logged
        ]
    if gaps := [gap for gap in map(_resumed, logged) if gap is not None]:
        told["resumption"] = _as_json(interval(np.reshape(gaps, (-1, 1)), over="whole runs"))
    return told


def _resumed(episodes: Mapping[str, NDArray]) -> float | None:
    """The mean of the first return after an old context came back minus the best before; None where none came back."""
    gaps = []
    for env in np.unique(episodes["env"]):
        own = episodes["env"] == env
        found = resumption(episodes["return"][own], episodes["context_id"][own])
        gaps.append(found.first - found.best)
    all_gaps = np.concatenate(gaps) if gaps else np.empty(0)
    return float(all_gaps.mean()) if all_gaps.size else None


def _pair(groups: Groups, first: str, second: str, split: str) -> dict[str, Any]:
    """How two groups differ on a split: paired by context, and by seed where both have the same."""
    x, y = (scores(groups[name], split) for name in (first, second))
    seeds = [[run.settings["seed"] for run in groups[name]] for name in (first, second)]
    paired = seeds[0] == seeds[1] and len(set(seeds[0])) == len(x)
    if min(len(x), len(y)) < 2:
        gap = interval(x.mean(0) - y.mean(0), over="contexts")
    elif paired:
        gap = paired_difference(x, y, over="whole runs")
    else:
        gap = difference(x, y)
    return {
        "first": first,
        "second": second,
        "split": split,
        "difference": _as_json(gap),
        "probability_of_improvement": _as_json(probability_of_improvement(x, y)),
        "paired_by": ["context", "seed"] if paired else ["context"],
        "drawn": "contexts" if min(len(x), len(y)) < 2 else "runs",
        "sentence": _sentence(first, second, split, gap, single=min(len(x), len(y)) < 2),
    }


def _sentence(first: str, second: str, split: str, gap: Interval, *, single: bool) -> str:
    """What the difference says; `single`: one of the groups is a single training."""
    where = f"on {SPLIT_NAMES[split]}{', in these trainings' if single else ''}"
    if np.isnan(gap.low):
        return f"{first} and {second} have one score each {where}, which is no ground for a comparison."
    if gap.low <= 0.0 <= gap.high:
        return (
            f"{first} and {second} do not differ {where}, as far as these runs tell: {with_ends(gap, '+')}."
        )
    better, worse = (first, second) if gap.estimate > 0 else (second, first)
    gain = gap if gap.estimate > 0 else Interval(-gap.estimate, -gap.high, -gap.low)
    return f"{better} is better than {worse} {where}: by {with_ends(gain)}."


def _cautions(groups: Groups, pairs: int) -> list[str]:
    """What one has to know before believing the sentences."""
    said = []
    if short := [str(run.folder) for runs in groups.values() for run in runs if not run.finished]:
        said.append(f"The training of {_listed(short)} did not come to its end.")
    if single := [name for name, runs in groups.items() if len(runs) == 1]:
        are = "is a single training" if len(single) == 1 else "are single trainings"
        said.append(
            f"{_listed(single)} {are}: intervals with {'it' if len(single) == 1 else 'them'} are over contexts, and "
            "say nothing of what another seed would give."
        )
    if few := [name for name, runs in groups.items() if 1 < len(runs) < FEW_RUNS]:
        has = "has" if len(few) == 1 else "have"
        said.append(
            f"{_listed(few)} {has} fewer than {FEW_RUNS} runs: bootstrap intervals of so few are too narrow."
        )
    if pairs >= 10:
        said.append(f"Of {pairs} intervals of 95 % about {pairs / 20:.0f} miss by chance.")
    return said


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _over(matrix: NDArray) -> Any:
    return "whole runs" if len(matrix) > 1 else "contexts"


def _as_json(score: Interval) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in score._asdict().items()}
