"""Scores taken while an agent trains: what they are, what they cost, and that the training does not notice."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agents.builders import Corridor, build
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from test_resuming import BASE

import train
from memagent import phase_evaluation
from memagent.agents import MemoryDQN
from memagent.evaluation.phase_scores import PhaseScores, Scored, Seen, read_phase_scores
from memagent.evaluation.players import PredictPlayer
from memagent.evaluation.protocol import Context
from memagent.phase_evaluation import PhaseEvaluation

pytestmark = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
LENGTHS = {7: 3, 8: 5, 9: 4}  # steps, and so the return, of an episode in each context
PHASE = 20


class Phased(Corridor):
    """Contexts 7, 8, 9 in turn for 20 steps each; an episode pays a 1 for each of its steps."""

    def __init__(self, held: float | None = None) -> None:
        super().__init__(6)
        self.held = held
        self.action_space = spaces.Discrete(3)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        number = 7 + self.total // PHASE % 3
        self.length = LENGTHS[number] if self.held is None else int(self.held)
        obs, reward, terminated, truncated, _ = super().step(action)
        phase = (self.total - 1) // PHASE
        context = {"length": float(LENGTHS[number])}
        return obs, reward, terminated, truncated, {"phase": phase, "context_id": number, "context": context}


def held(contexts: Sequence[Context]) -> DummyVecEnv:
    return DummyVecEnv([lambda c=c: Phased(c.context["length"]) for c in contexts])


def trained(folder: Path, steps: int, **settings: Any) -> tuple[PhaseEvaluation, MemoryDQN]:
    agent = build(DummyVecEnv([Phased]), kind="none", learning_starts=10_000)
    scoring = PhaseEvaluation(held, agent.make_acting, folder, **{"share": 9.0, **settings})
    agent.learn(steps, scoring)
    return scoring, agent


def test_every_phase_end_scores_the_contexts_seen_and_the_next(tmp_path: Path) -> None:
    scoring, _ = trained(tmp_path, 90)
    scores = scoring.scores
    assert [(e.step, e.phase, e.ended) for e in scores.evaluations] == [
        (21, 0, True),
        (41, 1, True),
        (61, 2, True),
        (81, 3, True),
        (96, 4, True),  # the end of the training, which is a multiple of a rollout
    ]
    assert [e.scores for e in scores.evaluations] == [[3, 5], [3, 5, 4], [3, 5, 4], [3, 5, 4], [3, 5, 4]]
    assert [(c.context_id, c.random) for c in scores.contexts] == [(7, 3.0), (8, 5.0), (9, 4.0)]
    assert scores.phases == [0, 1, 2, 0, 1]
    assert read_phase_scores(tmp_path / "phase_scores.json") == scores


def test_phases_are_passed_over_while_their_share_is_spent(tmp_path: Path) -> None:
    scoring, _ = trained(tmp_path, 200, share=0.5, episodes=2)
    # 2 contexts of at most 5 steps, twice, and as much by random actions, take 40 steps, which are half of 80.
    assert [e.phase for e in scoring.scores.evaluations][:2] == [0, 3]
    ends = [e.step for e in scoring.scores.evaluations]
    assert (
        scoring.spent - 30 <= 0.5 * ends[-1] + 30
    )  # but for the last one of 3 × 5 × 2 steps, and one before


def test_a_training_in_which_nothing_drifts_is_scored_by_tenths(tmp_path: Path) -> None:
    agent = build(DummyVecEnv([lambda: Steady(4)]), kind="none", learning_starts=10_000)
    scoring = PhaseEvaluation(
        lambda _: DummyVecEnv([lambda: Steady(4)]), agent.make_acting, tmp_path, held=False, share=1.0
    )
    agent.learn(320, scoring)
    assert [e.step for e in scoring.scores.evaluations] == [32 * k for k in range(1, 11)]
    assert {tuple(e.scores) for e in scoring.scores.evaluations} == {(4.0,)}
    assert scoring.scores.transfer() == dict.fromkeys(("forgetting", "backward_transfer", "forward_transfer"))


@pytest.mark.parametrize(
    ("told", "phases"),
    [(np.int64, 4), (str, 1), (lambda phase: np.array([phase]), 1)],
    ids=["int64", "word", "array"],
)
def test_a_phase_is_any_whole_number_and_nothing_else(told: Any, phases: int, tmp_path: Path) -> None:
    class Foreign(Phased):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
            *step, info = super().step(action)
            return (*step, info | {"phase": told(info["phase"])})

    agent = build(DummyVecEnv([Foreign]), kind="none", learning_starts=10_000)
    scoring = PhaseEvaluation(held, agent.make_acting, tmp_path, share=9.0)
    agent.learn(50, scoring)
    assert len(scoring.scores.phases) == phases
    json.dumps(scoring.get_state())


def test_models_of_sb3_are_scored_alike(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", DummyVecEnv([Phased]), n_steps=16, batch_size=16, n_epochs=1, device="cpu")
    scoring = PhaseEvaluation(held, partial(PredictPlayer, model), tmp_path / "new", share=9.0)
    model.learn(48, scoring)
    assert [e.scores for e in scoring.scores.evaluations] == [[3, 5], [3, 5, 4], [3, 5, 4]]
    assert (tmp_path / "new" / "best_model.zip").is_file()


class Steady(Corridor):
    """Tells no phase."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return (*super().step(action)[:4], {})


def test_no_more_contexts_are_followed_than_can_be_afforded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phase_evaluation, "MOST_CONTEXTS", 2)
    scoring, _ = trained(tmp_path, 90)
    assert scoring.scores.phases == [0, 1, -1, 0, 1]
    assert {len(e.scores) for e in scoring.scores.evaluations} == {2}
    assert scoring.scores.transfer()["forgetting"] == 0.0


def learn(**settings: Any) -> None:
    """A training by train.py that is not judged at its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "evaluate", lambda *given: {})
        patch.setattr(train, "track_results", lambda *given: None)
        train.main(replace(BASE, **settings))


@pytest.fixture(scope="module")
def scored_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored") / "run"
    learn(eval_share=1.0, total_timesteps=600, run_dir=folder)
    return folder


def test_the_logger_gets_rows_of_their_own_at_the_evaluations_steps(scored_run: Path) -> None:
    scores = read_phase_scores(scored_run / "phase_scores.json")
    with (scored_run / "progress.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["eval/mean_reward"]]
    assert [int(row["time/total_timesteps"]) for row in rows] == [e.step for e in scores.evaluations]
    assert [float(row["eval/mean_reward"]) for row in rows] == [scores.mean(e) for e in scores.evaluations]
    assert float(rows[-1]["eval/forgetting"]) == scores.transfer()["forgetting"]
    assert not any(row["rollout/ep_rew_mean"] for row in rows)
    table = json.loads((scored_run / "phase_scores.json").read_text())
    assert table["curve"][-1] == [scores.evaluations[-1].step, scores.mean(scores.evaluations[-1])]


def test_a_training_that_is_scored_is_the_one_that_is_not(tmp_path: Path) -> None:
    """Weights, replay, clocks, beliefs and generators, to the bit."""
    for share in (0.0, 1.0):
        learn(eval_share=share, total_timesteps=1_000, save_every=300, run_dir=tmp_path / f"{share}")
    unscored, scored = tmp_path / "0.0", tmp_path / "1.0"
    assert len(read_phase_scores(scored / "phase_scores.json").evaluations) > 2
    assert not (unscored / "phase_scores.json").exists() and not (unscored / "best_model.zip").exists()
    assert (scored / "model.zip").read_bytes() == (unscored / "model.zip").read_bytes()
    assert (scored / "episodes.csv").read_bytes() == (unscored / "episodes.csv").read_bytes()
    (one,), (other,) = (sorted((f / "checkpoints").iterdir())[-1:] for f in (scored, unscored))
    assert one.name == other.name
    arrays = "training.safetensors"
    assert (one / arrays).read_bytes() == (other / arrays).read_bytes()
    states = [json.loads((path / "training.json").read_text()) for path in (one, other)]
    assert states[0]["process"] == states[1]["process"]
    assert states[0]["extra"]["env"] == states[1]["extra"]["env"]


def test_the_best_agent_is_kept(scored_run: Path) -> None:
    scores = read_phase_scores(scored_run / "phase_scores.json")
    best = MemoryDQN.load(scored_run / "best_model.zip")
    assert best.num_timesteps == scores.evaluations[scores.best].step


def test_the_best_is_at_least_as_good_on_the_contexts_of_both() -> None:
    scores = PhaseScores([Seen(k, {}, 0.0) for k in range(3)], [0, 1, 2])
    kept = [
        scores.add(Scored(step, 0, True, values))
        for step, values in enumerate(([4.0, 2.0], [3.0, 2.0, 9.0], [3.0, 3.0, 0.0], [3.0, 3.0, -1.0]))
    ]
    assert kept == [True, False, True, False]
    assert scores.best == 2


def test_a_mean_is_over_the_contexts_that_were_trained() -> None:
    scores = PhaseScores([Seen(k, {}, 0.0) for k in range(3)], [0, 1, -1])
    assert scores.mean(Scored(1, 0, True, [4.0, 2.0])) == 4.0
    assert scores.mean(Scored(2, 2, True, [4.0, 2.0, 9.0])) == 3.0


GOOD = PhaseScores([Seen(3, {"force": 1.0}, 2.0)], [0, 0], [Scored(5, 1, True, [4.0])], 0).to_json()
BROKEN = [
    {"phases": [0, 1]},
    {"best": 4},
    {"evaluations": [{"step": 5, "phase": 2, "ended": True, "scores": [4.0]}]},
    {"evaluations": [{"step": 5, "phase": 1, "ended": True, "scores": []}]},
    {"evaluations": [{"step": 5, "phase": 1, "ended": True, "scores": [float("nan")]}]},
    {"contexts": [{"context_id": 3, "context": [], "random": 2.0}]},
    {"contexts": None},
]


@pytest.mark.parametrize("change", BROKEN)
def test_a_file_that_holds_no_scores_is_one_sentence(change: dict, tmp_path: Path) -> None:
    assert PhaseScores.from_json(GOOD).to_json() == GOOD
    (tmp_path / "scores.json").write_text(json.dumps(GOOD | change))
    with pytest.raises(ValueError, match=r"does not hold the scores of a training's phases") as caught:
        read_phase_scores(tmp_path / "scores.json")
    assert len(str(caught.value).splitlines()) == 1
