"""Stretches are numbered as they come, and listed as long as they are held. Rows are numbered: see builders."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from replay.builders import Filler, draw_all, make

from memagent.replay import PrioritizedSequenceBuffer


def listed(buffer: PrioritizedSequenceBuffer) -> list[tuple[int, int]]:
    envs, stretches = buffer.stretches()
    assert (envs.dtype, stretches.dtype) == (np.int64, np.int64)
    return list(zip(envs.tolist(), stretches.tolist(), strict=True))


def test_a_stretch_begins_where_the_phase_changes_and_behind_a_seam() -> None:
    filler = Filler(make(num_envs=2))
    phases = np.array([[4, 4, 9, 9, 4, 4, 4, 4, 4, 4, 4, 4], [0] * 11 + [1]])
    for row in range(12):
        if row == 8:
            filler.buffer.seam()
        filler.add([0, 1], phase=phases[:, row])
    stored = filler.buffer.state_dict()["row_stretch"][:, :12]
    assert stored.tolist() == [[0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], [0] * 8 + [1] * 3 + [2]]


def test_environments_number_their_own_stretches() -> None:
    filler = Filler(make(num_envs=2))
    for turn in range(16):
        filler.add([0], phase=turn // 4)
        filler.add([1], phase=0)
    batch = draw_all(filler.buffer)
    row = batch.obs[..., 1].astype(int)
    np.testing.assert_array_equal(batch.stretch, np.where(batch.env == 0, row // 4, 0))


def test_the_stretches_held_are_listed() -> None:
    """Rings of 40 rows: 55 rows of environment 1 leave 15 to 54, 7 of environment 2 are all held, 0 has none."""
    filler = Filler(make())
    assert listed(filler.buffer) == []
    for row in range(55):
        filler.add([1, 2] if row < 7 else [1], phase=np.array([row // 10, row // 3])[: 2 if row < 7 else 1])
    assert listed(filler.buffer) == [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 0), (2, 1), (2, 2)]
    for _ in range(5):
        filler.add([1], phase=5)
    assert listed(filler.buffer)[:2] == [(1, 2), (1, 3)]  # row 19, the last of stretch 1, is overwritten


def test_the_stretches_before_a_seam_are_not_listed() -> None:
    filler = Filler(make(num_envs=2))
    filler.fill(13)  # stretches 0 and 1
    filler.buffer.seam()
    assert listed(filler.buffer) == []
    filler.add([1])
    assert listed(filler.buffer) == [(1, 2)]


def test_refreshing_meets_no_stretch_that_is_not_listed() -> None:
    filler = Filler(make())
    random = np.random.default_rng(0)
    filler.fill(30).seam()
    for _ in range(95):
        filler.add(random.permutation(3)[:2], phase=random.integers(3, size=2))
    met = set()

    def advance(envs: np.ndarray, rows: Mapping[str, np.ndarray], state: Any) -> Any:
        met.update(
            (env, number) for env, column in zip(envs, rows["stretch"].T, strict=True) for number in column
        )
        return state

    filler.buffer.refresh(advance)
    assert met
    assert met <= set(listed(filler.buffer))
