"""Scores between random actions and an oracle: the sums, where they are shown, and the file that they come from."""

import io
import json

import pytest
from rich.console import Console

import envs
from benchmarks import references as benchmark
from envs.catalogue.scores import FILE
from evaluate import references_of
from memagent.evaluation import report
from memagent.evaluation.intervals import Interval
from memagent.evaluation.metrics import SPLITS
from memagent.evaluation.references import normalised, normalised_gain, normalised_summary
from memagent.results import evaluation_of
from memagent.run_config import RunConfig

REFERENCES = {"train": {"random": -100.0, "oracle": 100.0}, "held_out": {"random": -50.0}}


def record(context_id: int, split: str, adapted: bool, mean: float) -> dict:
    return {
        "context_id": context_id,
        "split": split,
        "context": {"force": 1.0},
        "adapted": adapted,
        "episodes": 2,
        "mean_return": mean,
        "std_return": 0.0,
        "returns": [mean, mean],
        "warmup_returns": [],
    }


RECORDS = [
    record(i, split, adapted, 50.0 * adapted)
    for split in SPLITS
    for i in range(2)
    for adapted in (False, True)
]


def shown(records: list[dict], references: dict) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(report.table(records, references=references))
    return console.file.getvalue()


def test_a_score_and_its_interval_move_together() -> None:
    assert normalised(Interval(0.0, -100.0, 150.0), REFERENCES["train"]) == (0.5, 0.0, 1.25)
    assert normalised_gain(Interval(20.0, -40.0, 200.0), REFERENCES["train"]) == (0.1, -0.2, 1.0)
    with pytest.raises(ValueError, match="above the random agent's"):
        normalised(Interval(0.0, 0.0, 0.0), {"random": 1.0, "oracle": 1.0})


def test_a_split_without_both_references_is_left_out() -> None:
    summary = {split: {"adapted": 50.0, "unadapted": None} for split in SPLITS}
    assert normalised_summary(summary, REFERENCES) == {"train": {"adapted": 0.75, "unadapted": None}}
    assert normalised_summary(summary, {}) == {}


def test_table_page_and_json_have_normalised_scores_where_they_can_be(tmp_path) -> None:
    text = shown(RECORDS, REFERENCES)
    (row,) = [line for line in text.splitlines() if line.strip().startswith("normalised")]
    assert " ".join(row.split()) == "normalised 0.50 [0.50, 0.50] 0.75 [0.75, 0.75] +0.25 [+0.25, +0.25]"
    assert text.index("training (2)") < text.index("  normalised") < text.index("held out (2)")
    made = evaluation_of(RECORDS, {}, REFERENCES)
    assert made["normalised"] == {"train": {"adapted": 0.75, "unadapted": 0.5}}
    assert made["references"] == REFERENCES
    page = report.write_report(tmp_path / "r.html", made, {}, {}).read_text()
    assert "<dd>0.75 <small>[0.75, 0.75]</small></dd>" in page and "<h2>training (2), normalised</h2>" in page
    assert "Normalised: 0 is random actions" in page


@pytest.mark.parametrize("references", [{}, {"train": {"random": 0.0}}])
def test_nothing_is_said_where_a_reference_is_missing(references: dict, tmp_path) -> None:
    made = evaluation_of(RECORDS, {}, references)
    assert "normalised" not in made
    page = report.write_report(tmp_path / "r.html", made, {}, {}).read_text()
    assert "ormalised" not in page + shown(RECORDS, references)


def test_the_kept_scores_are_of_the_catalogue_with_the_oracle_above_random_actions() -> None:
    kept = json.loads(FILE.read_text())["scores"]
    assert kept.keys() == envs.CATALOGUE.keys()
    for name in kept:
        scores = envs.reference_scores(name)
        assert scores.keys() == set(SPLITS)
        assert all(of["oracle"] > of["random"] for of in scores.values() if "oracle" in of)
    assert envs.reference_scores("CartPole-v1") == {}


def test_the_kept_oracles_are_those_of_the_kept_results() -> None:
    runs = [run for path in benchmark.ORACLES for run in json.loads(path.read_text())["runs"]]
    for name, kept in json.loads(FILE.read_text())["scores"].items():
        random = {split: kept[split]["random"] for split in SPLITS}
        assert benchmark.references(name, random, runs) == kept


def test_what_is_handed_out_can_be_changed() -> None:
    envs.reference_scores("Drift/CartPole-v0")["train"]["random"] = 0.0
    assert envs.reference_scores("Drift/CartPole-v0")["train"]["random"] > 0.0


def test_references_hold_for_an_id_as_it_is_by_default() -> None:
    assert references_of(RunConfig()) == envs.reference_scores("Drift/CartPole-v0")
    assert references_of(RunConfig(env_kwargs={"change_at": "step"})) == {}
    assert references_of(RunConfig(env="CartPole-v1")) == {}


def test_the_kept_random_scores_are_those_that_the_command_finds() -> None:
    for split, score in benchmark.random_scores("Drift/CartPole-v0").items():
        assert score == pytest.approx(envs.reference_scores("Drift/CartPole-v0")[split]["random"], abs=0.5)


def test_the_oracle_is_the_mean_over_seeds_and_above_random_actions() -> None:
    def run(agent: str, seed: int, train: float, held_out: float) -> dict:
        contexts = [
            record(i, split, False, mean)
            for split, mean in (("train", train), ("held_out", held_out))
            for i in range(2)
        ]
        return {"task": "Drift/Pendulum-v0", "agent": agent, "seed": seed, "steps": 60, "contexts": contexts}

    runs = [run("oracle", 0, -200.0, -900.0), run("oracle", 1, -100.0, -1000.0), run("none", 0, 7.0, 7.0)]
    random = {"train": -1000.0, "held_out": -940.0}
    assert benchmark.references("Drift/Pendulum-v0", random, runs) == {
        "train": {"random": -1000.0, "oracle": -150.0},
        "held_out": {"random": -940.0},  # -950 is no oracle
        "oracle": {"seeds": 2, "steps": 60},
    }
    assert benchmark.references("Drift/Acrobot-v0", random, runs) == {
        "train": {"random": -1000.0},
        "held_out": {"random": -940.0},
    }
