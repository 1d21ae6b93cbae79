"""What a comparison of groups says, of scores worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memagent.evaluation.comparison import Judged, compare, grouped
from memagent.evaluation.comparison_page import picture, tables, write_page

EVALUATION = {"contexts": 2, "episodes": 1, "seed": 0}


def judged(
    name: str, kind: str, seed: int, unadapted: list[float], adapted: list[float] | None = None, **more: Any
) -> Judged:
    """A run with scores on training contexts 0, 1 and, the same minus 100, on held-out ones 2, 3."""
    records = [
        {
            "context_id": i + 2 * (split == "held_out"),
            "split": split,
            "context": {"mass": float(i)},
            "adapted": is_adapted,
            "mean_return": value - 100 * (split == "held_out"),
        }
        for is_adapted, values in ((False, unadapted), (True, adapted or []))
        for split in ("train", "held_out")
        for i, value in enumerate(values)
    ]
    settings = {"env": "A-v0", "env_kwargs": {}, "wrapper": {}, "seed": seed, "threads": 1}
    settings |= {"memory": {"kind": kind}, "adapt": {"enabled": adapted is not None}}
    return Judged(
        Path(name), settings | more.pop("settings", {}), {"contexts": records, "settings": EVALUATION}, **more
    )


def runs_of(kind: str, *means: float, adapted: float | None = None, seeds: Any = None) -> list[Judged]:
    """A run per mean, of seeds 0, 1, …; context 1 gives 10 more than context 0."""
    return [
        judged(
            f"{kind}/seed-{seed}",
            kind,
            seed,
            [m - 5.0, m + 5.0],
            None if adapted is None else [m - 5.0 + adapted, m + 5.0 + adapted],
        )
        for seed, m in zip(seeds or range(len(means)), means, strict=True)
    ]


def test_runs_that_differ_in_the_seed_alone_are_a_group() -> None:
    groups = grouped([*runs_of("none", 1.0, 2.0), *runs_of("dnc", 3.0, 4.0, 5.0)])
    assert {name: [run.settings["seed"] for run in runs] for name, runs in groups.items()} == {
        "none": [0, 1],
        "dnc": [0, 1, 2],
    }
    assert list(grouped(runs_of("none", 1.0, 2.0))) == [
        "none"
    ]  # the folder's name, where nothing sets it apart


def test_groups_are_named_by_the_settings_that_are_asked_for() -> None:
    runs = [*runs_of("none", 1.0), *runs_of("none", 2.0, adapted=0.5), *runs_of("dnc", 3.0)]
    assert list(grouped(runs, ["memory.kind", "adapt.enabled"])) == [
        "none, adapt off",
        "none, adapt on",
        "dnc, adapt off",
    ]
    assert [len(group) for group in grouped(runs, ["memory.kind"]).values()] == [2, 1]
    with pytest.raises(ValueError, match=r"did you mean memory\.kind"):
        grouped(runs, ["memory.kin"])


def test_groups_in_one_folder_that_differ_in_much_are_named_by_their_settings() -> None:
    several = [{"learner": dict.fromkeys("abcd", value)} for value in (1, 2)]
    runs = [
        judged(f"all/{i}-{seed}", "none", seed, [1.0], settings=s)
        for i, s in enumerate(several)
        for seed in (0, 1)
    ]
    assert list(grouped(runs)) == ["a 1, b 1, c 1, d 1", "a 2, b 2, c 2, d 2"]


def test_the_same_training_counts_once() -> None:
    again = [judged("a", "none", 0, [1.0, 2.0]), judged("b", "none", 0, [1.0, 2.0])]
    with pytest.raises(ValueError, match="a and b have the same settings and the same seed"):
        compare(again)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"settings": {"env": "B-v0"}}, 'env is "A-v0" and "B-v0"'),
        ({"settings": {"env_kwargs": {"g": 5}}}, 'env_kwargs is {} and {"g": 5}'),
    ],
)
def test_other_tasks_do_not_compare(other: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="a and b cannot be compared") as caught:
        compare([judged("a", "none", 0, [1.0, 2.0]), judged("b", "none", 1, [1.0, 2.0], **other)])
    assert said in str(caught.value)


def test_other_evaluations_do_not_compare() -> None:
    first, second = (judged(name, "none", 0, [1.0, 2.0]) for name in ("a", "b"))
    episodes = {**second.evaluation, "settings": EVALUATION | {"episodes": 5}}
    with pytest.raises(ValueError, match=r"evaluation\.episodes is 1 and 5"):
        compare([first, second._replace(evaluation=episodes)])
    moved = [r | {"context": {"mass": 7.0}} for r in second.evaluation["contexts"]]
    with pytest.raises(ValueError, match="judged on other contexts"):
        compare([first, second._replace(evaluation={**second.evaluation, "contexts": moved})])


def test_scores_are_those_of_agents_as_they_act() -> None:
    found = compare(
        [*runs_of("none", 10.0, 20.0), *runs_of("dnc", 10.0, 20.0, adapted=3.0)], ["memory.kind"]
    )["groups"]
    assert found["none"]["scores"]["train"]["mean"]["estimate"] == 15.0
    assert found["dnc"]["scores"]["train"]["mean"]["estimate"] == 18.0
    assert found["dnc"]["scores"]["train"]["unadapted"]["estimate"] == 15.0
    assert found["dnc"]["scores"]["train"]["gain"] == {"estimate": 3.0, "low": 3.0, "high": 3.0}
    assert "gain" not in found["none"]["scores"]["train"]
    assert found["dnc"]["scores"]["held_out"]["mean"]["estimate"] == -82.0
    # All four of 5, 15, 15, 25: the middle half is 15.
    assert found["none"]["scores"]["train"]["iqm"]["estimate"] == 15.0
    assert found["none"]["scores"]["train"]["runs"] == [10.0, 20.0]


def test_pairs_of_seeds_take_out_what_a_seed_has_in_common() -> None:
    luck = [0.0, 40.0, 80.0, 120.0, 160.0]
    first, second = runs_of("none", *luck), runs_of("dnc", *(m + 4.0 for m in luck))
    (pair, _) = compare([*first, *second])["pairs"]
    assert pair["paired_by"] == ["context", "seed"] and pair["drawn"] == "runs"
    assert pair["difference"] == {"estimate": -4.0, "low": -4.0, "high": -4.0}
    assert pair["sentence"] == "dnc is better than none on training contexts: by 4.0 [4.0, 4.0]."
    others = runs_of("dnc", *(m + 4.0 for m in luck), seeds=range(5, 10))
    (pair, _) = compare([*first, *others])["pairs"]
    assert (
        pair["paired_by"] == ["context"] and pair["difference"]["low"] < -50 < 40 < pair["difference"]["high"]
    )
    assert pair["sentence"].startswith(
        "none and dnc do not differ on training contexts, as far as these runs"
    )
    # Of the 25 pairs the first is above in 10: 40 above 4, 80 above 4 and 44, …
    assert pair["probability_of_improvement"]["estimate"] == pytest.approx(10 / 25)


def test_single_trainings_are_said_to_be_no_more() -> None:
    found = compare([*runs_of("none", 10.0), *runs_of("dnc", 90.0)])
    assert found["pairs"][0]["drawn"] == "contexts"
    assert found["pairs"][0]["sentence"] == (
        "dnc is better than none on training contexts, in these trainings: by 80.0 [80.0, 80.0]."
    )
    assert found["sentences"][-1].startswith("none and dnc are single trainings")
    few = compare([*runs_of("none", 10.0, 11.0), *runs_of("dnc", *range(5))])["sentences"]
    assert few[-1].startswith("none has fewer than 5 runs")


def test_a_training_tells_its_steps_and_what_old_contexts_cost() -> None:
    episodes = {
        "step": np.arange(60.0) * 10,
        "env": np.zeros(60),
        "context_id": np.repeat([0.0, 1.0, 0.0], 20),
        "return": np.repeat([10.0, 20.0, 7.0], 20),
    }
    run = runs_of("none", 1.0)[0]._replace(episodes=episodes)
    told = compare([run], threshold=20.0)["groups"]["none/seed-0".rpartition("/")[2]]["training"]
    assert told["steps_to_threshold"] == [390]
    assert told["resumption"] == {"estimate": -3.0, "low": None, "high": None}  # 7 after a best of 10


def test_the_page_holds_everything_and_escapes_what_it_shows(tmp_path: Path) -> None:
    runs = [*runs_of("<b>none", 1.0, 2.0), *runs_of("dnc", 3.0, 4.0, adapted=1.0)]
    found = compare(runs)
    assert picture(grouped(runs_of("_a$^$b", 1.0)), compare(runs_of("_a$^$b", 1.0))).startswith(b"\x89PNG")
    drawn = picture(grouped(runs), found)
    assert drawn.startswith(b"\x89PNG")
    text = write_page(tmp_path / "comparison.html", found, drawn).read_text()
    assert "&lt;b&gt;none" in text and "<b>none" not in text
    assert "http:" not in text.replace("http-equiv", "") and "<script" not in text
    assert all(sentence.replace("<", "&lt;").replace(">", "&gt;") in text for sentence in found["sentences"])
    titles = [table.title for table in tables(found)]
    assert titles == [
        "Return on training contexts",
        "Differences on training contexts",
        "Return on held-out contexts",
        "Differences on held-out contexts",
        "Runs",
    ]
