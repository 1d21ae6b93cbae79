"""What windows hold, which can be drawn, how they are drawn, and what is refused. Rows are numbered: see builders."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from replay.builders import CONFIG, Filler, draw_all, make, windows

from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig, SequenceBatch


def test_a_window_is_what_was_stored() -> None:
    batch = Filler(make()).fill(31).sample(64, 0.4)
    first = batch.obs[0, :, 1]
    row = first + np.arange(8)[:, None]
    assert (first % 4 == 0).all()
    np.testing.assert_array_equal(batch.obs[..., 0], np.broadcast_to(batch.env, (8, 64)))
    np.testing.assert_array_equal(batch.obs[..., 1], row)
    np.testing.assert_array_equal(batch.action, row % 2)
    np.testing.assert_array_equal(batch.reward, row / 8)
    np.testing.assert_array_equal(batch.start, row % 5 == 0)
    np.testing.assert_array_equal(batch.memory_start, row % 10 == 0)
    np.testing.assert_array_equal(batch.final, row % 5 == 4)
    np.testing.assert_array_equal(batch.terminal, row % 10 == 4)
    np.testing.assert_array_equal(batch.stretch, row // 10)
    np.testing.assert_array_equal(batch.episode, row // 5)


def test_dtypes() -> None:
    batch = Filler(make()).fill(8).sample(2, 0.4)
    assert [x.dtype for x in (batch.obs, batch.reward, batch.weights)] == [np.float32] * 3
    assert [x.dtype for x in (batch.start, batch.memory_start, batch.final, batch.terminal)] == [np.bool_] * 4
    assert [x.dtype for x in (batch.action, batch.stretch, batch.episode, batch.env)] == [np.int64] * 4


def test_continuous_actions_keep_their_shape() -> None:
    buffer = PrioritizedSequenceBuffer(CONFIG, 1, (2,), (3,), np.float32, seed=0)
    filler = Filler(buffer)
    for row in range(8):
        filler.add([0], action=np.full((1, 3), row / 2), state=())
    batch = buffer.sample(1, 0.4)
    np.testing.assert_array_equal(batch.action, np.broadcast_to(np.arange(8)[:, None, None] / 2, (8, 1, 3)))
    assert batch.state == ()


def test_the_stored_state_is_from_before_the_first_row() -> None:
    batch = Filler(make()).fill(60).sample(64, 0.4)
    for part in batch.state:
        np.testing.assert_array_equal(
            part.reshape(64, -1), np.repeat(batch.obs[0, :, 1][:, None], part[0].size, 1)
        )


def count_rows(envs: np.ndarray, rows: Mapping[str, np.ndarray], state: Any) -> list[np.ndarray]:
    """A memory that counts the rows since it was emptied."""
    np.testing.assert_array_equal(rows["obs"][..., 0], np.broadcast_to(envs, (CONFIG.stride, envs.size)))
    np.testing.assert_array_equal(rows["stretch"], rows["obs"][..., 1] // 10)
    matrix, count = (np.array(part, np.float32) for part in state)
    for start in rows["memory_start"]:
        count = np.where(start[:, None], 0.0, count) + 1
    return [matrix, count]


def test_refreshed_states_are_as_if_the_memory_had_run_from_the_oldest_one_on() -> None:
    """The memory is emptied at every tenth row. Rings of 40 rows, of streams of 90 and 83 rows."""
    filler = Filler(make(num_envs=2, config=replace(CONFIG, capacity=80)))
    for row in range(90):
        filler.add(
            [0, 1] if row < 83 else [0],
            state=lambda envs: (np.zeros((envs.size, 3, 2)), np.full((envs.size, 3), 99)),
        )
    filler.buffer.refresh(count_rows)
    for batch in (filler.buffer.sample(1, 0.4) for _ in range(200)):
        env, row = batch.obs[0, 0].astype(int)
        oldest = (52, 44)[env]
        emptied = (row - 1) // 10 * 10  # the last time before this row
        assert batch.state[1][0, 0] == (row - emptied if emptied >= oldest else 99 + row - oldest)


def test_refreshing_stays_behind_a_seam() -> None:
    filler = Filler(make(num_envs=1, config=replace(CONFIG, capacity=120)))
    filler.fill(50).seam()
    filler.fill(30).refresh(lambda envs, rows, state: [np.zeros_like(np.asarray(part)) for part in state])
    seen = set()
    for batch in (filler.buffer.sample(1, 0.4) for _ in range(200)):
        row = batch.obs[0, 0, 1]
        assert batch.state[1][0, 0] == (row if row <= 50 else 0)  # 50: the oldest state behind the seam
        seen.add(row > 50)
    assert seen == {True, False}


def test_stored_state_precision() -> None:
    """Half precision for M and L; 127 usages near 1 would become 3 in it."""
    buffer = make(num_envs=1, state=[("M", (4, 3)), ("u", (127,)), ("L", (4, 4))])
    random = np.random.default_rng(0)
    memory, link = random.normal(size=(1, 4, 3)), random.random((1, 4, 4))
    usage = np.float32(1) - np.arange(127, dtype=np.float32) * np.float32(1e-5)
    filler = Filler(buffer)
    for _ in range(8):
        filler.add([0], state=(memory, usage[None], link))
    stored = buffer.sample(1, 0.4).state
    assert [part.dtype for part in stored] == [np.float16, np.float32, np.float16]
    np.testing.assert_array_equal(stored[1][0], usage)
    np.testing.assert_allclose(stored[0], memory, rtol=2**-11)
    np.testing.assert_allclose(stored[2], link, rtol=2**-11)
    assert len(np.unique(usage.astype(np.float16))) < 10


def test_state_is_asked_for_at_window_starts_only() -> None:
    filler, asked = Filler(make()), []
    filler.add([1, 2])  # streams out of step: 0 opens its windows one row after the others

    def state(envs: np.ndarray) -> tuple[np.ndarray, ...]:
        asked.append(envs.tolist())
        return filler.state(envs)

    announced = []
    for _ in range(8):
        announced.append(filler.buffer.needs_state(np.arange(3)).tolist())
        filler.add([0, 1, 2], state=state)
    assert asked == [[0], [1, 2], [0], [1, 2]]
    assert announced == [[k % 4 == 0, k % 4 == 3, k % 4 == 3] for k in range(8)]


def test_a_state_of_all_environments_is_the_same_as_a_function() -> None:
    first, second = Filler(make()), Filler(make())
    for turn in range(40):
        envs = np.array([2, 0]) if turn % 3 else np.array([1])
        first.add(envs)
        second.add(envs, state=second.state(envs))
    saved, other = first.buffer.state_dict(), second.buffer.state_dict()
    assert all((saved[name] == other[name]).all() for name in other)


def test_numbers_stand_for_all_environments() -> None:
    filler = Filler(make())
    for _ in range(8):
        filler.add([0, 1, 2], final=True, terminal=False, action=0, reward=0.0, phase=7)
    batch = draw_all(filler.buffer)
    assert batch.final.all()
    assert (batch.stretch == 0).all()


def test_a_window_can_be_drawn_when_its_last_row_is_written() -> None:
    filler = Filler(make(num_envs=1))
    filler.fill(7)
    assert len(filler.buffer) == 0
    filler.add([0])
    assert list(windows(filler.buffer)) == [(0, 0)]
    filler.fill(3)
    assert len(filler.buffer) == 1
    filler.add([0])
    assert sorted(windows(filler.buffer)) == [(0, 0), (0, 4)]


def test_a_window_cannot_be_drawn_when_its_first_row_is_overwritten() -> None:
    filler = Filler(make(num_envs=1))  # a ring of 120 rows
    filler.fill(120)
    assert (0, 0) in windows(filler.buffer)
    filler.add([0])
    assert sorted(windows(filler.buffer)) == [(0, first) for first in range(4, 113, 4)]


def test_the_ring_holds_a_whole_number_of_strides() -> None:
    """A capacity of 130 for 3 environments is 43 rows each, of which 40 are used."""
    buffer = Filler(make(ReplayConfig(**(vars(CONFIG) | {"capacity": 130})))).fill(200)
    assert buffer.size() == 3 * 40 * 4 // 5
    assert {first for _, first in windows(buffer)} == set(range(160, 193, 4))


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 2), st.integers(12, 24))
def test_windows_equal_those_of_a_plain_list(seed: int, stride: int, burn_in: int, rows: int) -> None:
    """Oracle: which row lies at each position of the ring, written down one by one."""
    config = ReplayConfig(capacity=3 * rows, burn_in=burn_in, rows=2, stride=stride, n_step=1)
    filler, length = Filler(make(config)), config.window
    ring = np.full((3, rows // stride * stride), -1)  # number of the row at each position
    position = np.zeros(3, dtype=int)
    starts: list[tuple[int, int, int]] = []  # environment, number of the row, position
    seams: list[np.ndarray] = []
    random = np.random.default_rng(seed)
    for _ in range(100):
        envs = random.permutation(3)[: random.integers(1, 4)].tolist()
        if random.random() < 0.05:
            filler.buffer.seam()
            seams.append(filler.row.copy())
            position = -(-position // stride) * stride % ring.shape[1]
        for env in envs:
            if position[env] % stride == 0:
                starts.append((env, filler.row[env], position[env]))
            ring[env, position[env]] = filler.row[env]
            position[env] = (position[env] + 1) % ring.shape[1]
        filler.add(envs)
        expected = []
        for env, first, place in starts:
            intact = ring[env, (place + np.arange(length)) % ring.shape[1]] == first + np.arange(length)
            inside = any(first < seam[env] < first + length for seam in seams)
            if intact.all() and not inside:
                expected.append((env, first))
        assert len(filler.buffer) == len(expected)
        if expected:
            batch = draw_all(filler.buffer)
            np.testing.assert_array_equal(batch.obs[..., 1], batch.obs[0, :, 1] + np.arange(length)[:, None])
            np.testing.assert_array_equal(batch.state[1][:, 0], batch.obs[0, :, 1])
            assert sorted(windows(filler.buffer)) == sorted(expected)


def test_no_window_straddles_a_seam() -> None:
    filler = Filler(make(num_envs=1))
    filler.fill(14)
    filler.buffer.seam()
    assert filler.buffer.needs_state([0]).all()  # the next row opens a window, stride or not
    filler.fill(30)
    first = sorted(first for _, first in windows(filler.buffer))
    assert first == [0, 4, 14, 18, 22, 26, 30, 34]  # 8 would reach into row 14


def test_a_seam_twice_is_a_seam_once() -> None:
    first, second = Filler(make()), Filler(make())
    for filler, times in ((first, 1), (second, 3)):
        filler.fill(13)
        for _ in range(times):
            filler.buffer.seam()
        filler.fill(13)
    assert sorted(windows(first.buffer)) == sorted(windows(second.buffer))


def test_transitions_are_counted_without_final_rows_and_gaps() -> None:
    filler = Filler(make(num_envs=1))
    assert filler.fill(10).size() == 8
    filler.fill(1)
    filler.buffer.seam()  # leaves one position of the ring empty
    assert filler.buffer.size() == 9
    filler.fill(1000)
    assert filler.buffer.size() == 96  # 120 rows, every fifth a final one
    filler.fill(2)
    filler.buffer.seam()
    assert filler.buffer.size() < 96


def test_the_last_window_is_drawn() -> None:
    buffer = Filler(make()).fill(205)
    assert max(buffer.sample(1000, 0.4).window) == 29  # 3 environments × 10 window starts


def test_a_priority_for_an_overwritten_window_is_passed_over() -> None:
    filler = Filler(make(num_envs=1))
    batch = draw_all(filler.fill(120))
    filler.fill(9)  # the windows from row 0, 4 and 8 are gone; their places are open again, none complete
    filler.buffer.update_priorities(batch, np.full(batch.window.size, 50.0))
    drawn = {first for _, first in zip(*unpack(filler.buffer.sample(500, 0.4)), strict=True)}
    assert drawn == {*range(12, 122, 4)}
    filler.fill(120)
    filler.buffer.update_priorities(batch, np.full(batch.window.size, 1e9))
    assert filler.buffer.state_dict()["priority"].max() < 1e4


def unpack(batch: SequenceBatch) -> tuple[list[int], list[int]]:
    return batch.env.tolist(), batch.obs[0, :, 1].astype(int).tolist()


def test_sampling_follows_the_priorities_given() -> None:
    buffer = Filler(make(ReplayConfig(**(vars(CONFIG) | {"alpha": 1.0})))).fill(40)
    batch = draw_all(buffer)
    priority = 1.0 + np.arange(batch.window.size)
    buffer.update_priorities(batch, priority)
    counts = np.bincount(buffer.sample(20_000, 0.4).window, minlength=batch.window.max() + 1)[batch.window]
    np.testing.assert_allclose(counts, 20_000 * priority / priority.sum(), atol=2.01)


def test_nan_is_refused() -> None:
    buffer = Filler(make()).fill(20)
    batch = buffer.sample(4, 0.4)
    before = deepcopy(buffer.state_dict())
    with pytest.raises(ValueError, match="finite ones of 0 or more"):
        buffer.update_priorities(batch, torch.tensor([1.0, float("nan"), 1.0, 1.0]))
    assert all((before[name] == value).all() for name, value in buffer.state_dict().items())


def test_a_large_buffer_takes_memory_only_where_it_is_written() -> None:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("resident memory is read from /proc")
    state = {"M": (128, 64), "u": (128,), "L": (128, 128), "w_r": (4, 128)}
    before = int(statm.read_text().split()[1])
    buffer = PrioritizedSequenceBuffer(ReplayConfig(capacity=200_000), 16, (12,), (), np.int64, state, seed=0)
    grown = (int(statm.read_text().split()[1]) - before) * 4096
    assert sum(part.nbytes for part in buffer._streams._state.values()) > 600e6
    assert grown < 60e6


def test_a_capacity_below_one_window_per_environment_is_refused() -> None:
    """96 rows always hold a window of 75 that begins at a multiple of 16; 80 do not, once the oldest rows go."""
    config = ReplayConfig(capacity=1535)
    with pytest.raises(
        ValueError, match=r"capacity 1535 does not always hold a window of 75 rows.*at least 1536"
    ):
        make(config, num_envs=16)
    filler = Filler(make(ReplayConfig(capacity=1536), num_envs=16))
    filler.fill(96)
    for _ in range(200):
        assert len(filler.buffer) >= 16
        filler.fill(1)


def test_an_empty_buffer_says_what_it_needs() -> None:
    filler = Filler(make())
    filler.fill(7)
    with pytest.raises(ValueError, match="no complete window yet; store at least 8 rows"):
        filler.buffer.sample(4, 0.4)
    with pytest.raises(ValueError, match="batch_size=0"):
        filler.fill(1).sample(0, 0.4)


@pytest.mark.parametrize(
    ("envs", "values", "message"),
    [
        ([0, 0], {}, "one of them twice"),
        ([3], {}, "from 0 to 2"),
        ([-1], {}, "from 0 to 2"),
        ([], {}, "from 0 to 2"),
        ([0, 1], {"obs": np.zeros(2)}, r"obs of shape \(2,\); give \(2, 2\)"),
        ([0, 1], {"reward": np.zeros((2, 1))}, r"reward of shape \(2, 1\); give \(2,\)"),
        ([0, 1], {"state": ()}, "memory state of shapes"),
        ([0, 1], {"state": (np.zeros((3, 3, 2)), np.zeros((3, 3)))}, "memory state of shapes"),
        ([0, 1], {"state": lambda envs: (np.zeros((1, 3, 2)), np.zeros((1, 3)))}, "memory state of shapes"),
    ],
)
def test_rows_that_do_not_fit_are_refused_before_anything_is_written(
    envs: list[int], values: dict[str, Any], message: str
) -> None:
    filler = Filler(make())
    filler.fill(40)
    before = deepcopy(filler.buffer.state_dict())
    given = {"obs": np.zeros((len(envs), 2)), "action": 0, "reward": 0, "phase": 0, "episode": 0}
    flags = dict.fromkeys(("start", "memory_start", "final", "terminal"), False)
    with pytest.raises(ValueError, match=message):
        filler.buffer.add(np.array(envs, dtype=int), **(given | flags | {"state": filler.state} | values))
    assert all((before[name] == value).all() for name, value in filler.buffer.state_dict().items())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("capacity", 0), ("alpha", -0.1), ("alpha", 1.1), ("beta", 2.0), ("eta", float("nan")), ("burn_in", -1),
        ("rows", 0), ("stride", 0), ("n_step", 0), ("priority_epsilon", 0.0),
    ],
)  # fmt: skip
def test_a_config_out_of_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"ReplayConfig got {field}={value}; give"):
        ReplayConfig(**{field: value})


def test_place_and_fullness_are_those_of_the_rings() -> None:
    filler = Filler(make(num_envs=1))
    filler.fill(119)
    assert filler.buffer.pos.tolist() == [119] and not filler.buffer.full
    filler.fill(5)
    assert filler.buffer.pos.tolist() == [4] and filler.buffer.full


def test_after_a_reset_the_buffer_is_a_new_one() -> None:
    filler, new = Filler(make()), Filler(make())
    filler.fill(77).sample(3)
    filler.buffer.reset()
    assert len(filler.buffer) == filler.buffer.size() == 0
    filler.row[:] = 0
    batches = [f.fill(50).sample(6) for f in (filler, new)]
    np.testing.assert_array_equal(batches[0].obs, batches[1].obs)
    np.testing.assert_array_equal(batches[0].weights, batches[1].weights)


def test_weights_begin_at_the_configured_exponent() -> None:
    buffers = [Filler(make()).fill(60) for _ in range(2)]
    for buffer in buffers:
        batch = draw_all(buffer)
        buffer.update_priorities(batch, np.arange(1, 1 + len(buffer)))
    given, default = buffers[0].sample(9, CONFIG.beta), buffers[1].sample(9)
    assert given.weights.std() > 0
    np.testing.assert_array_equal(given.weights, default.weights)
