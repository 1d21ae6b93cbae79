import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, TanhTransform, TransformedDistribution
from torch.func import grad, vmap

from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig
from memagent.targets import (
    beta_schedule,
    double_q_value,
    masked_mean,
    n_step_targets,
    prediction_loss,
    sequence_priorities,
    soft_value,
    squashed_sample,
    taken_value,
    td_errors,
    td_loss,
    temperature_loss,
)

# Rows of the golden arrays: rewards 1, 2, 4, 8, 16, values 10, 20, 30, …, gamma 1/2, three steps. The first T = 4 rows
# have targets, the last n = 3 only serve them.
REWARD = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
VALUE = torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0])


def golden(final: list[int], terminal: list[int], n: int = 3, reward: Tensor = REWARD) -> list[float]:
    flags = torch.zeros(2, 7, dtype=torch.bool)
    flags[0, final] = True
    flags[1, terminal] = True
    return n_step_targets(reward[:, None], VALUE[:, None], flags[0, :, None], flags[1, :, None], 0.5, n)[
        :, 0
    ].tolist()


def test_a_running_episode_bootstraps_n_rows_on() -> None:
    assert golden([], []) == [
        1 + 2 / 2 + 4 / 4 + 40 / 8,
        2 + 4 / 2 + 8 / 4 + 50 / 8,
        4 + 8 / 2 + 16 / 4 + 60 / 8,
        8 + 16 / 2 + 32 / 4 + 70 / 8,
    ]


def test_a_terminated_episode_ends_in_nothing() -> None:
    """Row 2 is final and terminal; its value of 30 counts nowhere, nor does anything after it before row 3."""
    assert golden([2], [2]) == [1 + 2 / 2, 2, 0, 8 + 16 / 2 + 32 / 4 + 70 / 8]


def test_a_truncated_episode_ends_in_its_last_value() -> None:
    assert golden([2], []) == [1 + 2 / 2 + 30 / 4, 2 + 30 / 2, 30, 8 + 16 / 2 + 32 / 4 + 70 / 8]


def test_an_end_n_rows_on_is_the_bootstrap_row_itself() -> None:
    assert golden([3], [])[0] == 1 + 2 / 2 + 4 / 4 + 40 / 8
    assert golden([3], [3])[0] == 1 + 2 / 2 + 4 / 4


def test_an_end_in_the_last_rows_of_the_window_counts() -> None:
    assert golden([6], [6])[3] == 8 + 16 / 2 + 32 / 4
    assert golden([4], [4])[3] == 8
    assert golden([4], [])[3] == 8 + 50 / 2


def test_two_ends_within_n_rows() -> None:
    """An episode of one action: final rows 1 and 3."""
    assert golden([1, 3], [3]) == [1 + 20 / 2, 20, 4, 0]


def test_the_target_is_taken_at_the_next_row() -> None:
    """ray #19074: with one step the target of row t is r[t] + gamma v[t+1], not gamma v[t]."""
    assert golden([], [], n=1) == [1 + 20 / 2, 2 + 30 / 2, 4 + 40 / 2, 8 + 50 / 2, 16 + 60 / 2, 32 + 70 / 2]


def test_what_a_final_row_holds_as_reward_counts_nowhere() -> None:
    reward = REWARD.clone()
    reward[2] = 1e6
    assert golden([2], [], reward=reward) == golden([2], [])


def walk(
    reward: Tensor, value: Tensor, final: Tensor, terminal: Tensor, gamma: float, n: int, t: int
) -> float:
    """The definition, one row at a time."""
    total, factor = 0.0, 1.0
    for row in range(t, t + n + 1):
        if final[row] or row == t + n:
            return total + factor * (0.0 if terminal[row] else float(value[row]))
        total, factor = total + factor * float(reward[row]), factor * gamma
    raise AssertionError


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_targets_equal_a_walk_along_each_stream(n: int) -> None:
    torch.manual_seed(n)
    rows, streams = 20, 7
    reward, value = (
        torch.randn(rows, streams, dtype=torch.float64),
        torch.randn(rows, streams, dtype=torch.float64),
    )
    final = torch.rand(rows, streams) < 0.25
    terminal = final & (torch.rand(rows, streams) < 0.5)
    targets = n_step_targets(reward, value, final, terminal, 0.9, n)
    expected = [
        [walk(reward[:, b], value[:, b], final[:, b], terminal[:, b], 0.9, n, t) for b in range(streams)]
        for t in range(rows - n)
    ]
    torch.testing.assert_close(targets, torch.tensor(expected, dtype=torch.float64))


def test_no_gradient_flows_into_a_target() -> None:
    value = VALUE[:, None].clone().requires_grad_()
    flags = torch.zeros(7, 1, dtype=torch.bool)
    assert not n_step_targets(REWARD[:, None], value, flags, flags, 0.5, 3).requires_grad


@pytest.mark.parametrize("n", [0, 7])
def test_too_few_rows_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"n={n} and 7 rows"):
        golden([], [], n=n)


def truncating_windows() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Replayed windows (step, reward, final, terminal) of an endless task, cut off after 5 steps each time.

    The reward is the step, 0 to 4; step 5 is the final row.
    """
    config = ReplayConfig(capacity=600, burn_in=0, rows=16, stride=3, n_step=3)
    buffer = PrioritizedSequenceBuffer(config, 1, (1,), (), np.int64, seed=0)
    for row in range(300):
        step = row % 6
        buffer.add(
            [0], obs=[[step]], action=0, reward=0.0 if step == 5 else step, start=step == 0, memory_start=step == 0,
            final=step == 5, terminal=False, phase=0, episode=row // 6,
        )  # fmt: skip
    batch = buffer.sample(32, 0.4)
    return tuple(torch.from_numpy(x) for x in (batch.obs[..., 0], batch.reward, batch.final, batch.terminal))


def test_the_true_values_are_kept_where_every_episode_truncates() -> None:
    """Of the task that would go on: sum_k gamma^k (t + k) = t / (1 - gamma) + gamma / (1 - gamma)^2."""
    step, reward, final, terminal = truncating_windows()
    value = step / 0.1 + 0.9 / 0.1**2
    target = n_step_targets(reward, value, final, terminal, 0.9, 3)
    torch.testing.assert_close(target, value[: target.shape[0]])


def test_the_true_values_are_found_where_every_episode_truncates() -> None:
    """A reward of 1 for ever is worth 1 / (1 - gamma) = 2; were truncation termination, step 4 would be worth 1."""
    step, _, final, terminal = truncating_windows()
    reward, table = (~final).float(), torch.zeros(6)
    for _ in range(60):
        target = n_step_targets(reward, table[step.long()], final, terminal, 0.5, 3)
        mask, rows = ~final[: target.shape[0]], step[: target.shape[0]]
        for s in range(5):
            table[s] = masked_mean(target, mask & (rows == s))
        table[5] = table[4]  # the last observation looks like the one before
    torch.testing.assert_close(table, torch.full((6,), 2.0))


def test_double_q_takes_the_action_of_one_and_the_value_of_the_other() -> None:
    online = torch.tensor([[1.0, 5.0, 2.0], [9.0, 0.0, 0.0]])
    target = torch.tensor([[7.0, 3.0, 8.0], [4.0, 6.0, 6.0]])
    assert double_q_value(online, target).tolist() == [3.0, 4.0]


def test_the_value_of_the_action_taken() -> None:
    q = torch.arange(24.0).reshape(2, 4, 3)
    action = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 1]])
    assert taken_value(q, action).tolist() == [[0.0, 4.0, 8.0, 9.0], [14.0, 16.0, 18.0, 22.0]]


def test_td_errors_point_from_value_to_target() -> None:
    value, target = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([4.0, 1.0], requires_grad=True)
    errors = td_errors(value, target)
    errors.sum().backward()
    assert errors.tolist() == [3.0, -1.0]
    assert value.grad is not None
    assert value.grad.tolist() == [-1.0, -1.0]
    assert target.grad is None


TD = torch.tensor([[0.5, -3.0], [100.0, 2.0]])
MASK = torch.tensor([[True, True], [False, True]])


def test_squared_td_loss_by_hand() -> None:
    assert td_loss(TD).tolist() == [[0.125, 4.5], [5000.0, 2.0]]


def test_huber_td_loss_by_hand() -> None:
    """Delta 1: 0.5² / 2, 3 - 1/2, 100 - 1/2, 2 - 1/2."""
    assert td_loss(TD, huber_delta=1.0).tolist() == [[0.125, 2.5], [99.5, 1.5]]
    assert td_loss(TD, huber_delta=2.5).tolist() == [[0.125, 2.5 * (3 - 1.25)], [2.5 * (100 - 1.25), 2.0]]


@pytest.mark.parametrize("huber_delta", [None, 1.0])
def test_masked_rows_have_no_gradient(huber_delta: float | None) -> None:
    td = TD.clone().requires_grad_()
    masked_mean(td_loss(td, huber_delta), MASK).backward()
    assert td.grad is not None
    assert (td.grad != 0).tolist() == MASK.tolist()


def test_a_batch_without_valid_rows_has_no_loss() -> None:
    assert masked_mean(td_loss(TD), torch.zeros_like(MASK)).item() == 0.0
    assert prediction_loss(TD[..., None], TD[..., None] + 1, torch.zeros_like(MASK)).item() == 0.0


def test_prediction_loss_by_hand() -> None:
    predicted = torch.zeros(2, 2, 3)
    outcome = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]], [[9.0, 9.0, 9.0], [3.0, 0.0, 0.0]]])
    assert prediction_loss(predicted, outcome, MASK).item() == pytest.approx((14 / 3 + 36 / 3 + 9 / 3) / 3)
    weighted = prediction_loss(predicted, outcome, MASK, torch.tensor([1.0, 0.5])).item()
    assert weighted == pytest.approx((14 / 3 + 0.5 * 36 / 3 + 0.5 * 9 / 3) / 3)


def test_losses_vmap_over_tasks() -> None:
    """The inner loop takes the gradient of a window's loss for all windows at once."""
    slope = vmap(grad(lambda td, mask: masked_mean(td_loss(td), mask)))(TD.T, MASK.T)
    torch.testing.assert_close(slope, torch.tensor([[0.5, 0.0], [-1.5, 1.0]]))


def test_a_squashed_sample_has_the_density_of_the_change_of_variables() -> None:
    """Against torch's own transformed distribution, and summed over two actions."""
    torch.manual_seed(0)
    mean, log_std, noise = (torch.randn(5, 2, dtype=torch.float64) for _ in range(3))
    action, log_prob = squashed_sample(mean, log_std, noise)
    slow = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform())
    torch.testing.assert_close(action, torch.tanh(mean + log_std.exp() * noise))
    torch.testing.assert_close(log_prob, slow.log_prob(action).sum(-1))


def test_a_saturated_sample_has_a_finite_density_and_gradient() -> None:
    mean = torch.tensor([[40.0], [-40.0]], requires_grad=True)
    _, log_prob = squashed_sample(mean, torch.zeros(2, 1), torch.ones(2, 1))
    log_prob.sum().backward()
    assert log_prob.isfinite().all() and mean.grad is not None and mean.grad.isfinite().all()


def test_the_soft_value_is_that_of_the_sterner_critic_and_pays_for_entropy() -> None:
    value = soft_value(torch.tensor([[1.0, 5.0], [4.0, 2.0]]), torch.tensor([-2.0, 3.0]), torch.tensor(0.5))
    assert value.tolist() == [1.0 + 1.0, 2.0 - 1.5]


@pytest.mark.parametrize(("log_prob", "rises"), [(2.0, True), (-2.0, False)])
def test_the_temperature_rises_where_there_is_too_little_entropy(log_prob: float, rises: bool) -> None:
    """The entropy, -log pi, is to be -1 on average."""
    log_temperature = torch.zeros((), requires_grad=True)
    density = torch.tensor([log_prob], requires_grad=True)
    temperature_loss(log_temperature, density, target_entropy=-1.0).sum().backward()
    assert log_temperature.grad is not None and (log_temperature.grad < 0) == rises
    assert density.grad is None


def test_beta_rises_from_start_to_one() -> None:
    assert [beta_schedule(progress, 0.4) for progress in (-1.0, 0.0, 0.5, 1.0, 2.0)] == pytest.approx(
        [0.4, 0.4, 0.7, 1.0, 1.0]
    )


def test_sequence_priorities_by_hand() -> None:
    td_abs = torch.tensor([[1.0, 9.0, 5.0], [3.0, 2.0, 5.0], [8.0, 4.0, 5.0]], requires_grad=True)
    mask = torch.tensor([[True, False, False], [True, True, False], [True, True, False]])
    priorities = sequence_priorities(td_abs, mask, eta=0.9)
    assert priorities.tolist() == pytest.approx([0.9 * 8 + 0.1 * 4, 0.9 * 4 + 0.1 * 3, 0.0])
    assert not priorities.requires_grad


def test_sequence_priorities_ignore_what_masked_rows_hold() -> None:
    td_abs = torch.tensor([[1.0], [float("nan")]])
    assert sequence_priorities(td_abs, torch.tensor([[True], [False]]), eta=0.5).tolist() == [1.0]
