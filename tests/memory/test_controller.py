import copy
import re

import pytest
import torch
from memory.dnc_cases import IN, B, H, N, R, W, build_dnc, generic_state, random_start, small_config
from torch.func import functional_call, grad, vmap

from memagent.memory import DNCState, GRUState, LSTMState, MemoryConfig, NoState, build_memory, reset_state
from memagent.memory.controller import lstm_cell

T = 9


def inputs(T=T, batch=B, seed=1, dtype=torch.float64):
    return torch.randn(T, batch, IN, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def no_start(T=T, batch=B):
    return torch.zeros(T, batch, dtype=torch.bool)


def stepwise(memory, x, start, state):
    outputs = []
    for t in range(len(x)):
        y_t, state = memory(x[t : t + 1], start[t : t + 1], state)
        outputs.append(y_t)
    return torch.cat(outputs), state


def memory_of(kind, dtype=torch.float64, **options):
    torch.manual_seed(0)
    return build_memory(small_config(kind=kind, **options), IN).to(dtype)


@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_t_steps_at_once_equal_t_calls_of_one_step_with_resets_inside(config, length):
    memory, x, start = build_dnc(config), inputs(length), random_start(length, B, seed=length)
    for state in (memory.initial_state(B), generic_state(config)):
        y, after = memory(x, start, state)
        y_steps, after_steps = stepwise(memory, x, start, state)
        assert torch.equal(y, y_steps)
        assert all(torch.equal(a, b) for a, b in zip(after, after_steps, strict=True))


@pytest.mark.parametrize("kind", ["dnc", "lstm", "gru"])
@pytest.mark.parametrize("batch", [1, 4, 32])
def test_acting_and_training_agree_in_float32(kind, batch):
    memory = build_memory(MemoryConfig(kind=kind, backend="reference"), IN)
    x, start = inputs(5, batch, dtype=torch.float32), random_start(5, batch, seed=3)
    with torch.no_grad():
        y, _ = memory(x, start, memory.initial_state(batch))
        y_steps, _ = stepwise(memory, x, start, memory.initial_state(batch))
    if kind == "dnc":
        assert torch.equal(y, y_steps)
    torch.testing.assert_close(
        y, y_steps, rtol=1e-4, atol=1e-5
    )  # PyTorch's kernels sum one step in another order


def test_reads_reach_the_controller():
    memory = build_dnc(small_config())
    state = memory.initial_state(B)
    M = generic_state(memory.config).M.requires_grad_()
    y, _ = memory(inputs(2), no_start(2), state._replace(M=M))
    controller = y[..., :H]
    assert (torch.autograd.grad(controller[0].square().sum(), M, retain_graph=True)[0] == 0.0).all()
    assert torch.autograd.grad(controller[1].square().sum(), M)[0].abs().max() > 1e-6


def test_the_output_is_the_controllers_output_and_the_reads(config):
    memory = build_dnc(config)
    y, after = memory(inputs(), no_start(), memory.initial_state(B))
    assert y.shape == (T, B, memory.output_dim) == (T, B, H + R * W)
    assert torch.equal(y[-1, :, H:], after.r)
    assert torch.equal(y[-1, :, :H], memory.controller_norm(after.h))


def test_a_reset_step_equals_a_fresh_state(config):
    memory, x, start = build_dnc(config), inputs(), no_start()
    start[4] = True
    y, after = memory(x, start, generic_state(config))
    fresh_y, fresh_after = memory(x[4:], no_start(T - 4), memory.initial_state(B))
    assert torch.equal(y[4:], fresh_y)
    assert all(torch.equal(a, b) for a, b in zip(after, fresh_after, strict=True))


def test_a_reset_of_one_sequence_leaves_the_others_alone(config):
    memory, x, start = build_dnc(config), inputs(), no_start()
    start[4, 1] = True
    y_reset, _ = memory(x, start, generic_state(config))
    y, _ = memory(x, no_start(), generic_state(config))
    torch.testing.assert_close(y_reset[:, [0, 2]], y[:, [0, 2]], rtol=1e-12, atol=1e-12)
    assert (y_reset[4, 1] - y[4, 1]).abs().max() > 1e-3


def test_a_reset_clears_what_is_not_a_number():
    state = DNCState(*(torch.full_like(s, float("nan")) for s in generic_state(small_config())))
    cleared = reset_state(state, torch.tensor([True, False, True]))
    assert all((s[[0, 2]] == 0.0).all() and s[1].isnan().all() for s in cleared)


def test_no_gradient_flows_through_a_reset():
    memory, x = build_dnc(small_config()), inputs().requires_grad_()
    start = no_start()
    start[5, 0] = True
    y, _ = memory(x, start, memory.initial_state(B))
    (gradient,) = torch.autograd.grad(y[-1].square().sum(), x)
    assert (gradient[:5, 0] == 0.0).all()
    assert (gradient[5:, 0].abs().sum(-1) > 0.0).all() and (gradient[:, 1].abs().sum(-1) > 0.0).all()


def test_rows_differ_after_three_writes_because_of_allocation():
    memory = build_dnc(small_config())
    x = inputs(3)

    def distinct_rows(M):
        return torch.cdist(M, M).add(torch.eye(N) * 9.0).amin((1, 2))

    after = memory(x, no_start(3), memory.initial_state(B))[1]
    assert (torch.cdist(after.M[:, :3], after.M[:, :3]) + torch.eye(3)).amin() > 1e-2

    with torch.no_grad():  # the null: by content alone all rows stay the same vector for ever
        allocation_gate = W * R + R + W + 1 + W + W + R
        memory.interface.weight[allocation_gate] = 0.0
        memory.interface.bias[allocation_gate] = -1e4
    after = memory(x, no_start(3), memory.initial_state(B))[1]
    assert torch.equal(after.M, after.M[:, :1].expand_as(after.M)) and after.M.abs().max() > 1e-3


def test_float32_and_float64_choose_the_same_slots():
    memory = build_dnc(small_config(memory_size=16), gain=2.0)
    x, start = inputs(8), random_start(8, B, seed=5)
    y64, s64 = memory(x, start, memory.initial_state(B))
    memory = memory.float()
    y32, s32 = memory(x.float(), start, memory.initial_state(B))
    torch.testing.assert_close(y32.double(), y64, rtol=0, atol=1e-4)
    torch.testing.assert_close(s32.M.double(), s64.M, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["dnc", "lstm", "gru", "none"])
def test_no_state_is_a_buffer_or_saved(kind):
    memory = memory_of(kind)
    before = {name: tuple(value.shape) for name, value in memory.state_dict().items()}
    memory(inputs(), random_start(T, B, seed=2), memory.initial_state(B))
    memory(inputs(batch=8), no_start(batch=8), memory.initial_state(8))
    assert list(memory.buffers()) == []
    assert {name: tuple(value.shape) for name, value in memory.state_dict().items()} == before
    assert set(before) == {name for name, _ in memory.named_parameters()}
    assert not any(isinstance(value, torch.Tensor) for value in vars(memory).values())


def test_the_parameters_have_the_names_of_the_equations():
    shapes = {name: tuple(p.shape) for name, p in memory_of("dnc").named_parameters()}
    assert shapes == {
        "weight_ih": (4 * H, IN + R * W),
        "weight_hh": (4 * H, H),
        "bias": (4 * H,),
        "controller_norm.weight": (H,),
        "controller_norm.bias": (H,),
        "interface.weight": (W * R + 3 * W + 5 * R + 3, H),
        "interface.bias": (W * R + 3 * W + 5 * R + 3,),
        "read_norm.weight": (R * W,),
        "read_norm.bias": (R * W,),
    }
    assert memory_of("dnc").bias.view(4, H)[1].tolist() == [1.0] * H  # forget gates open


def test_the_state_is_zero_and_has_the_batch_first(config):
    memory = build_dnc(config)
    state = memory.initial_state(B, dtype=torch.float32)
    P = N if config.temporal_links else 0
    shapes = [(B, H), (B, H), (B, R * W), (B, N, W), (B, N), (B, P), (B, P, P), (B, N), (B, R, N)]
    assert [tuple(s.shape) for s in state] == shapes
    assert all(s.dtype == torch.float32 and (s == 0.0).all() for s in state)
    assert all(s.dtype == torch.float64 for s in memory.initial_state(B))
    assert memory.initial_state(B, device="meta").M.device.type == "meta"


def test_links_off_saves_the_links_share_of_the_state():
    size = {
        links: sum(s.numel() for s in build_memory(MemoryConfig(temporal_links=links), 1).initial_state(1))
        for links in (True, False)
    }
    assert size[True] == 25_984
    assert 1.0 - size[False] / size[True] > 0.63


def test_lstm_memory_is_the_controller():
    memory = memory_of("lstm", layer_norm=False)
    weight_ih, weight_hh, bias, _ = memory.network.parameters()
    state = memory.initial_state(B)
    y, after = memory(inputs(), no_start(), state)
    h, c = state
    for t, x_t in enumerate(inputs()):
        h, c = lstm_cell(x_t @ weight_ih.t() + bias + h @ weight_hh.t(), c)
        torch.testing.assert_close(y[t], h)
    torch.testing.assert_close(tuple(after), (h, c))


def test_gru_memory_is_a_gru():
    memory = memory_of("gru", layer_norm=False)
    with torch.no_grad():
        for parameter in memory.network.parameters():
            parameter.normal_()
    weight_ih, weight_hh, bias_ih, bias_hh = memory.network.parameters()
    h = torch.randn(B, H, dtype=torch.float64)
    y, after = memory(inputs(), no_start(), GRUState(h))
    for t, x_t in enumerate(inputs()):
        r_x, z_x, n_x = (x_t @ weight_ih.t() + bias_ih).chunk(3, -1)
        r_h, z_h, n_h = (h @ weight_hh.t() + bias_hh).chunk(3, -1)
        z = (z_x + z_h).sigmoid()
        h = z * h + (1.0 - z) * (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
        torch.testing.assert_close(y[t], h)
    torch.testing.assert_close(after.h, h)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_gate_that_keeps_is_open_at_first(kind):
    network = memory_of(kind).network
    bias = network.bias_ih_l0.view(-1, H)
    assert len(bias) == {"lstm": 4, "gru": 3}[kind]
    assert bias[1].tolist() == [1.0] * H and bias.sum() == H and not network.bias_hh_l0.any()


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_memory_resets_and_steps(kind):
    memory, x, start = memory_of(kind), inputs(), random_start(T, B, seed=6)
    state = STATES[kind](*(torch.randn_like(part) for part in memory.initial_state(B)))
    y, after = memory(x, start, state)
    y_steps, after_steps = stepwise(memory, x, start, state)
    torch.testing.assert_close(y, y_steps, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tuple(after), tuple(after_steps), rtol=1e-12, atol=1e-12)
    start[3] = True
    fresh, _ = memory(x[3:], start[3:], memory.initial_state(B))
    torch.testing.assert_close(memory(x, start, state)[0][3:], fresh, rtol=1e-12, atol=1e-12)


def test_no_memory_remembers_nothing():
    memory, x = memory_of("none"), inputs()
    y, state = memory(x, random_start(T, B, seed=7), memory.initial_state(B))
    assert state == NoState() and memory.output_dim == H
    changed = x.clone()
    changed[:-1] += 1.0
    assert torch.equal(memory(changed, no_start(), state)[0][-1], y[-1])
    torch.testing.assert_close(y, (x @ memory.layer.weight.t() + memory.layer.bias).clamp(min=0.0))


@pytest.mark.parametrize("kind", ["dnc", "lstm", "gru"])
def test_a_memory_adapts_to_several_tasks_at_once_under_vmap_of_grad(kind):
    memory, K = memory_of(kind), 3
    x = torch.stack([inputs(4, seed=k) for k in range(K)])
    start = torch.stack([random_start(4, B, seed=k) for k in range(K)])
    weights = {name: torch.stack([p.detach() * (1.0 + 0.1 * k) for k in range(K)]) for name, p in
               memory.named_parameters()}  # fmt: skip

    def loss(weights, x, start):
        y, _ = functional_call(memory, weights, (x, start, memory.initial_state(B)))
        return y.square().mean()

    together = vmap(grad(loss))(weights, x, start)
    for k in range(K):
        leaves = {name: w[k].clone().requires_grad_() for name, w in weights.items()}
        loss(leaves, x[k], start[k]).backward()
        for name, leaf in leaves.items():
            torch.testing.assert_close(together[name][k], leaf.grad, msg=f"{name} of task {k}")


def test_trace_shows_every_step(config):
    memory, x, start, state = build_dnc(config), inputs(), random_start(T, B, seed=8), generic_state(config)
    trace = memory.trace(x, start, state)
    assert trace.usage.shape == (T, B, N) == trace.write_weights.shape
    assert trace.read_weights.shape == (T, B, R, N)
    for t in range(T):
        _, state = memory(x[t : t + 1], start[t : t + 1], state)
        assert torch.equal(trace.usage[t], state.u)
        assert torch.equal(trace.write_weights[t], state.w_w)
        assert torch.equal(trace.read_weights[t], state.w_r)
    assert not trace.usage.requires_grad


def test_a_copy_is_equal_and_independent():
    memory = build_dnc(small_config())
    twin = copy.deepcopy(memory)
    before, _ = memory(inputs(), no_start(), memory.initial_state(B))
    with torch.no_grad():
        memory.weight_ih.add_(1.0)
    after, _ = twin(inputs(), no_start(), twin.initial_state(B))
    assert torch.equal(before, after)


def test_a_repeated_gradient_step_fits_a_signal_that_needs_memory():
    for kind, solved in (("dnc", True), ("lstm", True), ("gru", True), ("none", False)):
        torch.manual_seed(0)
        memory = build_memory(small_config(kind=kind, hidden_size=16, memory_size=8), IN)
        head = torch.nn.Linear(memory.output_dim, 1)
        optimiser = torch.optim.Adam([*memory.parameters(), *head.parameters()], lr=1e-2)
        for _ in range(120):  # after five steps: say the sign shown at the first
            x = torch.randn(5, 32, IN)
            x[0, :, 0] = x[0, :, 0].sign()
            x[1:, :, 0] = 0.0
            y, _ = memory(x, no_start(5, 32), memory.initial_state(32))
            loss = (head(y[-1]).squeeze(-1) - x[0, :, 0]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert (loss.item() < 0.3) is solved, (kind, loss.item())


@pytest.mark.parametrize("kind", ["dnc", "lstm", "gru", "none"])
@pytest.mark.parametrize(
    ("x", "start", "sentence"),
    [
        (
            torch.zeros(2, B, IN + 1),
            torch.zeros(2, B).bool(),
            r"x has shape \(2, 3, 5\), expected \[T, B, 4\]",
        ),
        (torch.zeros(B, IN), torch.zeros(B).bool(), r"x has shape \(3, 4\), expected"),
        (torch.zeros(0, B, IN), torch.zeros(0, B).bool(), "with at least one step"),
        (torch.zeros(2, B, IN), torch.zeros(B, 2).bool(), "expected torch.bool of shape"),
        (torch.zeros(2, B, IN), torch.zeros(2, B), "start is torch.float32"),
    ],
)
def test_a_wrong_input_is_refused_in_one_sentence(kind, x, start, sentence):
    memory = memory_of(kind, dtype=torch.float32)
    with pytest.raises(ValueError, match=sentence):
        memory(x, start, memory.initial_state(B))


STATES = {"dnc": DNCState, "lstm": LSTMState, "gru": GRUState}
MISFITS = [(kind, name) for kind, state in STATES.items() for name in state._fields]


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize(("kind", "name"), MISFITS)
def test_a_part_of_a_state_that_does_not_fit_is_refused_by_name_and_both_shapes(kind, name, backend):
    memory = memory_of(kind, backend=backend)
    x, start, state = inputs(), no_start(), memory.initial_state(B)
    memory(x, start, state)
    right = getattr(state, name)
    too_wide = torch.cat([right, right[..., :1]], -1)
    for wrong in (right[:1], right[:-1], torch.cat([right, right]), too_wide):
        sentence = f"The state's {name} has shape {tuple(wrong.shape)}, expected {tuple(right.shape)}"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            memory(x, start, state._replace(**{name: wrong}))


@pytest.mark.parametrize("kind", ["dnc", "lstm", "gru", "none"])
@pytest.mark.parametrize("other", ["dnc", "lstm", "gru", "none"])
def test_a_state_is_taken_by_its_own_kind_of_memory_alone(kind, other):
    memory, state = memory_of(kind), memory_of(other).initial_state(B)
    if kind == other:
        memory(inputs(), no_start(), state)
    else:
        with pytest.raises(ValueError, match=f"The state is a {type(state).__name__}, expected a"):
            memory(inputs(), no_start(), state)


def test_a_trace_refuses_a_state_of_another_batch():
    memory = memory_of("dnc")
    with pytest.raises(ValueError, match="The state's h has shape"):
        memory.trace(inputs(), no_start(), memory.initial_state(1))


def test_the_backend_is_known_before_it_runs():
    assert {memory_of(kind).backend for kind in ("dnc", "lstm", "gru", "none")} == {"reference"}
    half = memory_of("dnc", dtype=torch.float16, backend="auto")
    assert half.backend == "reference"
    assert memory_of("dnc", backend="auto", link_sharpness=True).backend == "reference"


@pytest.mark.parametrize(("dtype", "link_sharpness"), [(torch.float16, False), (torch.float32, True)])
def test_the_fused_backend_is_refused_where_it_cannot_run(dtype, link_sharpness):
    memory = memory_of("dnc", dtype=dtype, backend="fused", link_sharpness=link_sharpness)
    with pytest.raises(ValueError, match='set backend to "auto" or "reference"'):
        memory(inputs(dtype=dtype), no_start(), memory.initial_state(B))
