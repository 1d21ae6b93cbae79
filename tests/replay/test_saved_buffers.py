"""A buffer saved, loaded or pickled goes on to the bit, or is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from replay.builders import CONFIG, Filler, make

from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig, SequenceBatch


@pytest.mark.parametrize("rows", [5, 29, 40, 47, 333])
def test_a_loaded_buffer_goes_on_to_the_bit(tmp_path: Path, rows: int) -> None:
    filler = Filler(make())
    buffer = filler.fill(rows)
    buffer.support([0, 1], [0, 0], size=4, steps=1)
    if len(buffer):
        buffer.update_priorities(buffer.sample(8, 0.4), np.arange(8.0))
    np.savez(tmp_path / "replay.npz", **buffer.state_dict())
    restored = Filler(make())
    restored.fill(17).seam()  # loading replaces whatever was there
    with np.load(tmp_path / "replay.npz", allow_pickle=False) as saved:
        restored.buffer.load_state_dict(saved)
    assert restored.buffer.size() == buffer.size()
    restored.row[:] = rows
    assert_same_support(buffer, restored.buffer)
    for both in (filler, restored):
        both.fill(6)
        both.buffer.seam()
        both.fill(25)
    assert_same(filler.buffer.sample(16, 0.4), restored.buffer.sample(16, 0.4))
    assert_same_support(filler.buffer, restored.buffer)
    assert filler.buffer.size() == restored.buffer.size()


def test_the_next_batch_after_loading_is_the_same() -> None:
    buffer, other = Filler(make()).fill(50), make()
    other.load_state_dict(buffer.state_dict())
    assert_same(buffer.sample(16, 0.4), other.sample(16, 0.4))
    assert_same_support(buffer, other)


def test_a_stretch_goes_on_after_loading_as_it_would_have() -> None:
    """In the middle of a phase, and at a seam that no row follows yet."""
    for seam, expected in ((False, [2, 2, 3]), (True, [3, 3, 4])):
        filler = Filler(make(num_envs=1))
        filler.fill(28)
        if seam:
            filler.buffer.seam()
        restored = Filler(make(num_envs=1))
        restored.buffer.load_state_dict(filler.buffer.state_dict())
        restored.row[:] = 28
        stored = restored.fill(3).state_dict()["row_stretch"][0]
        assert stored[-3:].tolist() == expected


def test_saved_tables_of_another_size_are_refused() -> None:
    saved = Filler(make()).fill(30).state_dict()
    with pytest.raises(ValueError, match=r"stretch_end of shape \(3, 2\); this buffer needs \(3, 3\)"):
        make().load_state_dict(saved | {"stretch_end": saved["stretch_end"][:, :2]})


def test_a_pickled_buffer_goes_on_to_the_bit() -> None:
    """What SB3's `save_replay_buffer` does."""
    buffer = Filler(make()).fill(50)
    copy = pickle.loads(pickle.dumps(buffer))
    assert_same(buffer.sample(16, 0.4), copy.sample(16, 0.4))
    assert_same_support(buffer, copy)


def assert_same(first: SequenceBatch, second: SequenceBatch) -> None:
    for name in SequenceBatch._fields:
        if name != "state":
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    for a, b in zip(first.state, second.state, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_same_support(first: PrioritizedSequenceBuffer, second: PrioritizedSequenceBuffer) -> None:
    """Of every stretch that there is."""
    for tasks, others in zip(first.stretches(), second.stretches(), strict=True):
        np.testing.assert_array_equal(tasks, others)
    envs, stretches = np.repeat([0, 1, 2], 50), np.tile(np.arange(50), 3)
    drawn = [b.support(envs, stretches, size=5, steps=1) for b in (first, second)]
    assert drawn[0].mask.any()
    for name, a, b in zip(drawn[0]._fields, *drawn, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_what_is_saved_of_a_buffer_is_as_long_as_what_it_holds() -> None:
    saved = Filler(make(num_envs=1)).fill(10).state_dict()
    assert saved["row_obs"].shape == (1, 10, 2)
    assert saved["state_M"].shape == (1, 3, 3, 2)


@pytest.mark.parametrize(
    "other",
    [
        make(num_envs=2),
        make(ReplayConfig(**(vars(CONFIG) | {"capacity": 240}))),
        make(ReplayConfig(**(vars(CONFIG) | {"rows": 6}))),
        make(state={}),
        make(state={"M": (3, 3), "u": (3,)}),
    ],
)
def test_a_saved_buffer_of_other_sizes_is_refused(other: PrioritizedSequenceBuffer) -> None:
    with pytest.raises(ValueError, match="The saved replay has"):
        make().load_state_dict(other.state_dict())
