"""A search for settings: the same for the same seed, joined by another process, pruned, and left as a preset."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_resuming import BASE

import train
from memagent.archive import ArchiveError
from memagent.evaluation.phase_scores import read_phase_scores
from memagent.run_config import RunConfig
from memagent.runs import RunError
from memagent.tuning import (
    Choice,
    Range,
    StoppedError,
    merged,
    nested,
    read_preset,
    search_space,
    tune,
    value_of,
)

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def score_of(config: RunConfig) -> float:
    """Best at a rate of 1e-3."""
    return -abs(config.learner.learning_rate - 1e-3)


class Tried:
    """Stands for training: notes what it is given, in place of an hour."""

    def __init__(self, score: Any = score_of) -> None:
        self.score, self.configs = score, list[RunConfig]()

    def __call__(self, config: RunConfig, folder: Path, trial: Any) -> float | None:
        self.configs.append(config)
        return self.score(config)


def of_space(config: RunConfig) -> list[Any]:
    return [value_of(config, name) for name in search_space(BASE)]


def test_the_first_trial_has_the_settings_as_they_are_and_the_best_is_a_preset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = Tried()
    tune(BASE, tmp_path / "search", 4, tried)
    assert tried.configs[0] == replace(BASE, run_dir=None)
    assert len({c.learner.learning_rate for c in tried.configs}) == 4
    best = max(tried.configs, key=score_of)
    preset = read_preset(tmp_path / "search" / "best.json")
    for name in search_space(BASE):
        section, _, setting = name.partition(".")
        assert preset[section][setting] == value_of(best, name), name
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"trial {k} of 4" for k in range(4)]
    assert f"of trial {tried.configs.index(best)}, learner.learning_rate" in lines[-1]


def test_a_search_of_one_trial_makes_it(tmp_path: Path) -> None:
    tried = Tried()
    tune(BASE, tmp_path / "search", 1, tried)
    assert tried.configs == [replace(BASE, run_dir=None)]


def test_the_same_seed_suggests_the_same_trials_and_another_others(tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tried = Tried()
        tune(replace(BASE, seed=seed), tmp_path / name, 12, tried)  # more than those that are drawn at random
        found.append([of_space(config) for config in tried.configs])
    assert found[0] == found[1] != found[2]


def test_a_process_that_joins_goes_on_where_the_search_is(tmp_path: Path) -> None:
    alone, first, second = Tried(), Tried(), Tried()
    tune(BASE, tmp_path / "alone", 5, alone)
    tune(BASE, tmp_path / "joined", 2, first)
    tune(BASE, tmp_path / "joined", 5, second)
    assert [of_space(c) for c in first.configs + second.configs] == [of_space(c) for c in alone.configs]
    with pytest.raises(RunError, match="holds a search with other settings"):
        tune(replace(BASE, num_envs=2), tmp_path / "joined", 9, second)


def test_trials_of_two_processes_at_once_differ(tmp_path: Path) -> None:
    outer, inner = Tried(), Tried()

    def meanwhile(config: RunConfig) -> float:
        tune(BASE, tmp_path, len(outer.configs) + len(inner.configs) + 1, inner)
        return score_of(config)

    outer.score = meanwhile
    tune(BASE, tmp_path, 4, outer)
    given = [tuple(of_space(c)) for c in outer.configs + inner.configs]
    assert len(given) >= 4 and len(set(given)) == len(given)


def test_a_search_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    def fail(config: RunConfig) -> float:
        raise ArchiveError("weights are not finite.")

    with pytest.raises(RunError, match="Every trial has failed; mend what they say"):
        tune(BASE, tmp_path / "failing", 2, Tried(fail))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tuning.db").write_text(
        "no database, but long enough to be looked at as one" * 100
    )
    with pytest.raises(RunError, match=r"No search can be made in .*broken: .*; name another folder"):
        tune(BASE, tmp_path / "broken", 2, Tried())


def test_what_cannot_be_trained_fails_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def score(config: RunConfig) -> float:
        if len(tried.configs) == 2:
            raise ArchiveError("weights are not finite.")
        return 1.0

    tried = Tried(score)
    tune(BASE, tmp_path, 3, tried)
    assert "trial 1 of 3: failed (weights are not finite" in capsys.readouterr().out

    def stop(config: RunConfig) -> float:
        raise StoppedError

    with pytest.raises(StoppedError):
        tune(BASE, tmp_path, 4, Tried(stop))
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{tmp_path / 'tuning.db'}")
    assert study.n_trials == 4


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(RunError, match="is not empty and holds no search"):
        tune(BASE, tmp_path, 1, Tried())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_optuna_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RunError, match=r"pip install 'memagent\[tune\]'"):
        tune(BASE, tmp_path / "new", 1, Tried())
    assert not (tmp_path / "new").exists()


def test_the_space_holds_the_settings_and_what_a_memory_has() -> None:
    kinds = {kind: replace(BASE, memory=replace(BASE.memory, kind=kind)) for kind in ("none", "lstm", "dnc")}
    spaces = {kind: search_space(config) for kind, config in kinds.items()}
    for kind, space in spaces.items():
        for name, part in space.items():
            value = value_of(kinds[kind], name)
            assert value in part.values if isinstance(part, Choice) else part.low <= value <= part.high
    assert {"learner.learning_rate", "learner.reward_scale", "adapt.history", "replay.alpha"} <= spaces[
        "none"
    ].keys()
    assert spaces["lstm"].keys() - spaces["none"].keys() == {"memory.hidden_size"}
    assert spaces["dnc"].keys() - spaces["lstm"].keys() == {"memory.memory_size"}
    unadapted = search_space(replace(BASE, adapt=replace(BASE.adapt, enabled=False)))
    assert not any(name.startswith("adapt.") for name in unadapted)
    assert isinstance(spaces["none"]["learner.learning_rate"], Range)


def test_tiny_trainings_are_searched_scored_and_pruned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def prunes(trial: Any) -> bool:
        asked.append(trial.number)
        return trial.number == 1

    monkeypatch.setattr(optuna.Trial, "should_prune", prunes)
    config = replace(BASE, total_timesteps=400, eval_share=1.0, run_dir=tmp_path / "search")
    train.search(config, 2)
    whole, cut = (
        read_phase_scores(tmp_path / "search" / f"trial-000{k}" / "phase_scores.json") for k in (0, 1)
    )
    assert len(whole.evaluations) > len(cut.evaluations) == 1
    assert asked == [0] * asked.count(0) + [1]
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith("trial 1 of 2: pruned, learner.")
    study = optuna.load_study(study_name="memagent", storage=f"sqlite:///{tmp_path / 'search' / 'tuning.db'}")
    assert study.trials[0].value == whole.mean(whole.evaluations[-1])
    assert list(study.trials[0].intermediate_values.values()) == [
        whole.mean(scored) for scored in whole.evaluations[:-1]
    ]
    assert (tmp_path / "search" / "trial-0000" / "best_model.zip").is_file()


def test_a_preset_stands_before_the_environments_and_behind_the_flags(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text(json.dumps({"learner": {"gamma": 0.9, "reward_scale": 0.5}, "num_envs": 3}))
    config = train.parse(["--env=Drift/CartPole-v0", "--learner.gamma=0.7"], path)
    assert (config.learner.gamma, config.learner.reward_scale, config.num_envs) == (0.7, 0.5, 3)
    assert config.replay.n_step == 8  # the environment's own preset
    with pytest.raises(RunError, match="--preset"):
        train.start(["--resume", str(tmp_path), "--preset", str(path)])


@pytest.mark.parametrize(
    "text", ["", "[]", '{"learner": {"gama": 0.9}}', '{"learner": {"gamma": 2}}', '{"env": "a"}']
)
def test_a_file_that_is_no_preset_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(RunError, match=r"best\.json") as caught:
        train.parse([], tmp_path / "best.json")
    assert len(str(caught.value).splitlines()) == 1


def test_settings_by_section_take_the_place_of_others() -> None:
    values = nested({"learner.gamma": 0.9, "learner.tau": 0.1, "replay.rows": 8})
    assert values == {"learner": {"gamma": 0.9, "tau": 0.1}, "replay": {"rows": 8}}
    assert merged({"learner": {"gamma": 1.0, "batch_size": 4}, "seed": 3}, values) == {
        "learner": {"gamma": 0.9, "tau": 0.1, "batch_size": 4},
        "replay": {"rows": 8},
        "seed": 3,
    }
