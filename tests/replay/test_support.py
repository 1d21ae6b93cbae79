"""Which runs support offers, how they are drawn, and what is refused. Rows are numbered: see builders."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay.builders import CONFIG, Filler, make
from scipy.stats import chisquare

from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig, SupportRows
from memagent.replay.support import draw_different

LONG = {"start": False, "final": False, "terminal": False}  # rows of episodes that do not end


def starts(rows: SupportRows, task: int = 0) -> list[int]:
    """Numbers of the rows at which the runs of a task that count begin."""
    return sorted(rows.obs[0, task, rows.mask[task], 1].astype(int).tolist())


def test_a_run_is_what_was_stored() -> None:
    buffer = Filler(make()).fill(33)
    rows = buffer.support([2, 0], [1, 3], size=5, steps=2)
    assert [part.shape for part in rows] == [(3, 2, 5, 2), (2, 2, 5), (2, 2, 5), (2, 5), (2, 5)]
    assert [part.dtype for part in rows] == [np.float32, np.int64, np.float32, np.int64, np.bool_]
    assert rows.mask.any(1).all()
    for task, run in np.argwhere(rows.mask):
        number = rows.obs[0, task, run, 1] + np.arange(3)
        np.testing.assert_array_equal(rows.obs[:, task, run, 0], (2, 0)[task])
        np.testing.assert_array_equal(rows.obs[:, task, run, 1], number)
        np.testing.assert_array_equal(number // 10, (1, 3)[task])
        assert rows.start[task, run] == number[0]
        np.testing.assert_array_equal(rows.action[:, task, run], number[:2] % 2)
        np.testing.assert_array_equal(rows.reward[:, task, run], number[:2] / 8)


def test_continuous_actions_and_images_keep_their_shape() -> None:
    buffer = PrioritizedSequenceBuffer(CONFIG, 1, (2, 5), (3,), np.float32, seed=0)
    filler = Filler(buffer)
    for row in range(9):
        seen, done = row * 10 + np.arange(10).reshape(1, 2, 5), row * 3 + np.arange(3)[None]
        filler.add([0], obs=seen, action=done, state=(), **LONG)
    rows = buffer.support([0], [0], size=4, steps=2)
    first = rows.obs[0, 0, :, 0, 0] / 10
    row = first + np.arange(3)[:, None]  # [3, 4]
    np.testing.assert_array_equal(rows.obs[:, 0], row[..., None, None] * 10 + np.arange(10).reshape(2, 5))
    np.testing.assert_array_equal(rows.action[:, 0], row[:2, :, None] * 3 + np.arange(3))


def test_runs_are_of_the_environment_and_of_the_stretch_alone() -> None:
    """Ten rows of a phase: with 3 transitions a run, the last one starts at the seventh."""
    buffer = Filler(make()).fill(35)
    rows = buffer.support([1, 2], [1, 2], size=12, steps=3)
    for task, env in enumerate((1, 2)):
        assert set(rows.obs[:, task, rows.mask[task], 0].ravel()) == {env}
    full = buffer.support([1], [1], size=12, steps=1)
    assert starts(full) == [10, 11, 12, 13, 15, 16, 17, 18]  # 14 and 19 are final


def test_a_phase_that_comes_back_is_another_stretch() -> None:
    filler = Filler(make(num_envs=1))
    for phase in [5, 5, 5, 6, 6, 5, 5, 5, 5]:
        filler.add([0], phase=phase, **LONG)
    rows = filler.buffer.support([0, 0, 0], [0, 1, 2], size=9, steps=1)
    assert [starts(rows, task) for task in range(3)] == [[0, 1], [3], [5, 6, 7]]


def test_all_episodes_of_a_stretch_are_reached() -> None:
    filler = Filler(make(num_envs=1))
    for _ in range(23):
        filler.add([0], phase=3)
    rows = filler.buffer.support([0], [0], size=50, steps=2)
    assert {start // 5 for start in starts(rows)} == {0, 1, 2, 3, 4}


def test_runs_over_an_episodes_end_do_not_count() -> None:
    """Every fifth row is final. A run of 2 may end on a final row, whose observation follows the last action."""
    filler = Filler(make(num_envs=1))
    for _ in range(20):
        filler.add([0], phase=3)
    rows = filler.buffer.support([0], [0], size=19, steps=2)
    assert starts(rows) == [start for start in range(18) if start % 5 <= 2]
    assert not rows.mask[0, 18]
    for part in (rows.obs, rows.action, rows.reward):
        assert not part[:, ~rows.mask].any()


def test_no_run_crosses_a_seam() -> None:
    """Row 6 lies at position 8 after the seam, in the same phase; the positions between hold nothing."""
    filler = Filler(make(num_envs=1))
    for row in range(12):
        if row == 6:
            filler.buffer.seam()
        filler.add([0], phase=3, **LONG)
    rows = filler.buffer.support([0, 0], [0, 1], size=20, steps=2)
    assert [starts(rows, task) for task in range(2)] == [[0, 1, 2, 3], [6, 7, 8, 9]]


def test_runs_of_a_span_are_neighbours_at_a_random_place() -> None:
    filler = Filler(make(num_envs=1))
    for _ in range(60):
        filler.add([0], phase=0, **LONG)
    places, spans = [], np.array([0, 3, 7, 999])
    for _ in range(300):
        rows = filler.buffer.support([0] * 4, [0] * 4, size=5, steps=2, span=spans)
        none, few, some, every = (starts(rows, task) for task in range(4))
        assert none == [] and len(few) == 3 and len(some) == len(every) == 5
        assert few == list(range(few[0], few[0] + 3)) and some[-1] - some[0] < 7
        assert max(np.diff(some)) > 1 or some[-1] - some[0] == 4
        places.append((few[0], every[-1] - every[0]))
    first, reach = np.array(places).T
    assert set(first) == set(range(58 - 2)) and reach.min() > 30  # 58 starts


def test_overwritten_rows_are_not_drawn() -> None:
    """A ring of 40 rows, after row 56: rows 17 to 56 are held, of the phases that begin at 10, 20, … 50."""
    filler = Filler(make())
    for _ in range(57):
        filler.add([0, 1, 2], **LONG)
    rows = filler.buffer.support([1] * 5, [0, 1, 2, 5, 6], size=9, steps=1)
    assert [starts(rows, task) for task in range(5)] == [
        [],
        [17, 18],
        list(range(20, 29)),
        list(range(50, 56)),
        [],
    ]
    for _ in range(3):
        filler.add([1], phase=99, **LONG)
    assert starts(filler.buffer.support([1], [1], size=9, steps=1)) == []
    assert starts(filler.buffer.support([0], [1], size=9, steps=1)) == [17, 18]


def test_a_stretch_longer_than_the_ring_loses_its_beginning() -> None:
    filler = Filler(make())
    for _ in range(95):
        filler.add([0, 1, 2], phase=3, **LONG)
    rows = filler.buffer.support([0], [0], size=40, steps=4)
    assert starts(rows) == list(range(55, 91))


def test_a_stretch_of_which_every_row_is_another_phase_is_found() -> None:
    """As many stretches as the ring has rows, and more: the tables go round."""
    filler = Filler(make(num_envs=1))  # a ring of 120 rows
    for row in range(500):
        filler.add([0], phase=row // 2, **LONG)
    stretches = np.arange(100, 255)
    rows = filler.buffer.support([0] * 155, stretches, size=1, steps=1)
    held = [stretch for stretch in stretches if 380 <= 2 * stretch < 500]
    assert [int(stretches[task]) for task in range(155) if rows.mask[task, 0]] == held
    np.testing.assert_array_equal(rows.obs[0, rows.mask[:, 0], 0, 1], 2 * np.array(held))


def test_unknown_stretches_give_nothing() -> None:
    rows = Filler(make()).fill(12).support([0, 0, 0], [-1, 2, 10**9], size=3, steps=1)
    assert not rows.mask.any()
    assert not make().support([0], [0], size=3, steps=1).mask.any()


@pytest.mark.parametrize("steps", [10, 11, 39, 40, 41, 1000])
def test_too_few_rows_give_nothing(steps: int) -> None:
    """Rings of 40 rows, stretches of 10."""
    filler = Filler(make())
    for _ in range(55):
        filler.add([0, 1, 2], **LONG)
    assert not filler.buffer.support([0], [3], size=3, steps=steps).mask.any()
    assert filler.buffer.support([0], [3], size=3, steps=9).mask.tolist() == [[True, False, False]]


@pytest.mark.parametrize("size", [1, 7, 55, 56, 60])
def test_as_many_runs_as_there_are_and_none_twice(size: int) -> None:
    """56 runs of 4 transitions in 60 rows, 12 in 16."""
    filler = Filler(make(num_envs=2, config=ReplayConfig(capacity=200, rows=10)))
    for row in range(60):
        filler.add([0, 1] if row < 16 else [0], phase=3, **LONG)
    for _ in range(50):
        rows = filler.buffer.support([0, 1, 0], [0] * 3, size=size, steps=4)
        offered = np.array([56, 12, 56])
        np.testing.assert_array_equal(rows.mask, np.arange(size) < offered[:, None])
        for task in range(3):
            assert len(set(starts(rows, task))) == min(size, offered[task])


@pytest.mark.parametrize("size", [1, 3, 4, 7, 8])
def test_every_run_of_the_stretch_is_as_likely_as_every_other(size: int) -> None:
    """8 starts, cut into 3 parts of 2, 3 and 3: drawn without a turn they would not be even."""
    filler = Filler(make(num_envs=1))
    for _ in range(10):
        filler.add([0], phase=3, **LONG)
    rows = filler.buffer.support([0] * 3000, [0] * 3000, size=size, steps=2)
    drawn = np.bincount(rows.obs[0, ..., 1].astype(int).ravel())
    assert len(drawn) == 8
    assert chisquare(drawn).pvalue > 0.01


def test_runs_are_spread_over_the_stretch() -> None:
    """5 of 20: between two neighbours on the circle lie fewer than two parts of 4."""
    index, drawn = draw_different(np.full(200, 20), np.random.default_rng(0).random((200, 6)))
    assert drawn.all()
    around = np.sort(index, 1)
    gap = np.diff(around, axis=1, append=around[:, :1] + 20)
    assert gap.max() < 8
    assert (gap.sum(1) == 20).all()


def test_the_largest_random_numbers_stay_inside() -> None:
    uniform = np.full((3, 8), np.nextafter(1.0, 0.0))
    index, drawn = draw_different(np.array([1, 7, 2**40]), uniform)
    assert drawn.sum(1).tolist() == [1, 7, 7]
    assert sorted(index[1]) == list(range(7))
    assert (index >= 0).all() and index[2].max() < 2**40 and len(set(index[2])) == 7


def test_support_and_windows_do_not_draw_from_one_generator() -> None:
    first, second = Filler(make()).fill(40), Filler(make()).fill(40)
    first.support([0], [1], size=3, steps=1)
    np.testing.assert_array_equal(first.sample(16, 0.4).window, second.sample(16, 0.4).window)
    second.support([0], [1], size=3, steps=1)
    again = [buffer.support([1], [2], size=5, steps=1).obs for buffer in (first, second)]
    np.testing.assert_array_equal(*again)


def test_the_seed_decides_what_is_drawn() -> None:
    def drawn(seed: int) -> list[float]:
        buffer = PrioritizedSequenceBuffer(CONFIG, 1, (2,), (), np.int64, seed=seed)
        filler = Filler(buffer)
        for _ in range(100):
            filler.add([0], phase=3, state=(), **LONG)
        return buffer.support([0], [0], size=20, steps=1).obs.ravel().tolist()

    assert drawn(5) == drawn(5)
    assert drawn(5) != drawn(6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4), st.integers(12, 24))
def test_support_equals_that_of_a_plain_list(seed: int, stride: int, steps: int, rows: int) -> None:
    """Oracle: all rows ever added, in a list: index, number, stretch, final."""
    random = np.random.default_rng(seed)
    filler = Filler(make(ReplayConfig(capacity=3 * rows, burn_in=0, rows=1, stride=stride, n_step=1)))
    ring = rows // stride * stride
    added: list[list[tuple[int, int, int, bool]]] = [[], [], []]
    following = np.zeros(3, int)  # index of the next row
    phase, stretch, cut = np.zeros(3, int), np.full(3, -1), np.ones(3, bool)
    for _ in range(60):
        if random.random() < 0.06:
            filler.buffer.seam()
            following = -(-following // stride) * stride
            cut[:] = True
        envs = random.permutation(3)[: random.integers(1, 4)]
        for env in envs:
            changes = random.random() < 0.15
            phase[env] += changes
            stretch[env] += changes or cut[env]
            cut[env] = False
        final = random.random(envs.size) < 0.1
        for env, last in zip(envs, final, strict=True):
            added[env].append((following[env], filler.row[env], stretch[env], last))
        filler.add(envs, phase=phase[envs], final=final)
        following[envs] += 1
    asked = 7
    env = random.integers(3, size=asked)
    number = np.array([random.integers(-1, stretch[e] + 2) for e in env])
    for size in (2, 30):
        got = filler.buffer.support(env, number, size=size, steps=steps)
        for k in range(asked):
            offered = offered_runs(added[env[k]], following[env[k]] - ring, number[k], steps)
            counted = [start for start, counts in offered if counts]
            if size >= len(offered):
                assert starts(got, k) == counted
            else:
                count = len(starts(got, k))
                assert set(starts(got, k)) <= set(counted)
                assert count == len(set(starts(got, k)))
                assert count >= size - (len(offered) - len(counted))


def offered_runs(
    rows: list[tuple[int, int, int, bool]], oldest: int, stretch: int, steps: int
) -> list[tuple[int, bool]]:
    """(number of the first row, whether it counts) of every run that may be drawn."""
    offered = []
    for at in range(len(rows) - steps):
        run = rows[at : at + steps + 1]
        of_stretch = all(row[2] == stretch for row in run)
        held = all(row[0] >= oldest for row in run)
        if of_stretch and held:
            offered.append((run[0][1], not any(row[3] for row in run[:-1])))
    return offered


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"envs": [0, 3]}, "environments .* from 0 to 2"),
        ({"envs": [-1, 0]}, "environments .* from 0 to 2"),
        ({"envs": 0}, "vectors of one length K"),
        ({"envs": [[0, 1]]}, "vectors of one length K"),
        ({"stretches": [0]}, "vectors of one length K"),
        ({"stretches": [0.0, 1.5]}, "whole numbers"),
        ({"steps": 0}, "steps=0; give at least 1"),
        ({"size": 0}, "size=0 .* at least 1"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_drawn(changed: dict[str, Any], message: str) -> None:
    buffer = Filler(make()).fill(30)
    before = deepcopy(buffer.state_dict())
    asked = {"envs": [0, 1], "stretches": [0, 1], "size": 4, "steps": 2} | changed
    with pytest.raises(ValueError, match=f"(?s)support got .*{message}"):
        buffer.support(**asked)
    assert all((before[name] == value).all() for name, value in buffer.state_dict().items())


def test_no_task_gives_no_run() -> None:
    rows = Filler(make()).fill(30).support([], [], size=4, steps=2)
    assert [part.shape for part in rows] == [(3, 0, 4, 2), (2, 0, 4), (2, 0, 4), (0, 4), (0, 4)]
