"""One step of the DNC in plain loops over numbers, straight from the equations, against the step and the unroll."""

import math

import numpy as np
import torch
from memory.dnc_cases import IN, build_dnc, generic_state, random_start

from memagent.memory import DNCState


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def oneplus(x):
    return 1.0 + math.log(1.0 + math.exp(x))


def softmax(values):
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def cosine(a, b):
    root = math.sqrt(sum(x * x for x in a) + 1e-6) * math.sqrt(sum(x * x for x in b) + 1e-6)
    return sum(x * y for x, y in zip(a, b, strict=True)) / root


def masked(vector, mask):
    return [v * m for v, m in zip(vector, mask, strict=True)]


def sharpened(weights, power):
    ratio = [w / (max(weights) + 1e-6) for w in weights]
    powers = [x**power if x > 0.0 else 0.0 for x in ratio]
    return [p / (sum(powers) + 1e-6) for p in powers]


def layer_norm(x, norm):
    if isinstance(norm, torch.nn.Identity):
        return list(x)
    mean = sum(x) / len(x)
    root = math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + norm.eps)
    weight, bias = norm.weight.tolist(), norm.bias.tolist()
    return [(v - mean) / root * w + b for v, w, b in zip(x, weight, bias, strict=True)]


def affine(matrix, x, bias):
    return [sum(m * v for m, v in zip(row, x, strict=True)) + b for row, b in zip(matrix, bias, strict=True)]


def oracle_controller(memory, x, s):
    H = memory.config.hidden_size
    recurrent = affine(memory.weight_hh.tolist(), s["h"], [0.0] * (4 * H))
    from_input = affine(memory.weight_ih.tolist(), [*x, *s["r"]], memory.bias.tolist())
    gates = [a + b for a, b in zip(from_input, recurrent, strict=True)]
    c = [
        sigmoid(gates[H + n]) * s["c"][n] + sigmoid(gates[n]) * math.tanh(gates[2 * H + n]) for n in range(H)
    ]
    h = [sigmoid(gates[3 * H + n]) * math.tanh(c[n]) for n in range(H)]
    return h, c, layer_norm(h, memory.controller_norm)


def oracle_interface(xi, config):
    W, R, bias = config.memory_dim, config.num_read_heads, config.strength_bias
    xi = list(xi)

    def take(count):
        taken, xi[:] = xi[:count], xi[count:]
        return taken

    parts = {"k_r": [take(W) for _ in range(R)], "beta_r": [oneplus(v + bias) for v in take(R)]}
    parts |= {
        "k_w": take(W),
        "beta_w": oneplus(take(1)[0] + bias),
        "e": [sigmoid(v) for v in take(W)],
        "v": take(W),
    }
    parts |= {"f": [sigmoid(v) for v in take(R)], "g_a": sigmoid(take(1)[0]), "g_w": sigmoid(take(1)[0])}
    parts["pi"] = [softmax(take(3)) if config.temporal_links else [0.0, 1.0, 0.0] for _ in range(R)]
    masks = [[0.1 + 0.9 * sigmoid(v) for v in take(W)] if config.masking else [1.0] * W for _ in range(R + 1)]
    parts |= {"m_r": masks[:R], "m_w": masks[R]}
    parts["s_b"], parts["s_f"] = (
        [oneplus(v) for v in take(R)] if config.link_sharpness else None for _ in range(2)
    )
    assert not xi
    return parts


def oracle_write(x, s, config):
    N, W, R = config.memory_size, config.memory_dim, config.num_read_heads
    psi = [math.prod(1.0 - x["f"][i] * s["w_r"][i][n] for i in range(R)) for n in range(N)]
    u = [(s["u"][n] + s["w_w"][n] - s["u"][n] * s["w_w"][n]) * psi[n] for n in range(N)]
    clamped = [min(max(v, 1e-6), 1.0) for v in u]
    a, free = [0.0] * N, 1.0
    for n in sorted(range(N), key=lambda n: (round(clamped[n] * 2**16), n)):
        a[n] = (1.0 - clamped[n]) * free
        free *= clamped[n]
    key = masked(x["k_w"], x["m_w"])
    c_w = softmax([x["beta_w"] * cosine(key, masked(s["M"][n], x["m_w"])) for n in range(N)])
    w_w = [x["g_w"] * (x["g_a"] * a[n] + (1.0 - x["g_a"]) * c_w[n]) for n in range(N)]
    kept = psi if config.deallocation else [1.0] * N
    M = [
        [kept[n] * s["M"][n][k] * (1.0 - w_w[n] * x["e"][k]) + w_w[n] * x["v"][k] for k in range(W)]
        for n in range(N)
    ]
    return u, w_w, M


def oracle_links(w_w, s, config):
    N = config.memory_size
    if not config.temporal_links:
        return s["p"], s["L"], [[0.0] * N] * config.num_read_heads, [[0.0] * N] * config.num_read_heads
    L = [
        [0.0 if i == j else (1.0 - w_w[i] - w_w[j]) * s["L"][i][j] + w_w[i] * s["p"][j] for j in range(N)]
        for i in range(N)
    ]
    p = [(1.0 - sum(w_w)) * s["p"][n] + w_w[n] for n in range(N)]
    forward = [[sum(L[i][j] * w[j] for j in range(N)) for i in range(N)] for w in s["w_r"]]
    backward = [[sum(L[j][i] * w[j] for j in range(N)) for i in range(N)] for w in s["w_r"]]
    return p, L, forward, backward


def oracle_step(memory, x_t, state):
    """y_t and the new state of one sequence: lists of numbers in, lists of numbers out."""
    config = memory.config
    N, W, R = config.memory_size, config.memory_dim, config.num_read_heads
    s = {name: value.tolist() for name, value in state._asdict().items()}
    h, c, o = oracle_controller(memory, x_t.tolist(), s)
    x = oracle_interface(affine(memory.interface.weight.tolist(), o, memory.interface.bias.tolist()), config)
    u, w_w, M = oracle_write(x, s, config)
    p, L, forward, backward = oracle_links(w_w, s, config)
    w_r, reads = [], []
    for i in range(R):
        f, b, m = forward[i], backward[i], x["m_r"][i]
        if config.link_sharpness:
            f, b = sharpened(f, x["s_f"][i]), sharpened(b, x["s_b"][i])
        key = masked(x["k_r"][i], m)
        c_r = softmax([x["beta_r"][i] * cosine(key, masked(M[n], m)) for n in range(N)])
        pi = x["pi"][i]
        w_r.append([pi[0] * b[n] + pi[1] * c_r[n] + pi[2] * f[n] for n in range(N)])
        reads += [sum(w_r[i][n] * M[n][k] for n in range(N)) for k in range(W)]
    r = layer_norm(reads, memory.read_norm)
    return [*o, *r], (h, c, r, M, u, p, L, w_w, w_r)


def assert_equal_to_oracle(memory, x, start, state):
    y, after = memory(x, start, state)
    for b in range(x.shape[1]):
        state_b = DNCState(*(s[b] for s in state))
        for t in range(x.shape[0]):
            if start[t, b]:
                state_b = DNCState(*(torch.zeros_like(s) for s in state_b))
            y_t, numbers = oracle_step(memory, x[t, b], state_b)
            np.testing.assert_allclose(y[t, b].detach().numpy(), y_t, rtol=1e-9, atol=1e-11)
            state_b = DNCState(
                *(torch.tensor(n, dtype=s.dtype).view_as(s) for n, s in zip(numbers, state_b, strict=True))
            )
        for name, value, expected in zip(after._fields, after, state_b, strict=True):
            np.testing.assert_allclose(
                value[b].detach().numpy(), expected.numpy(), rtol=1e-9, atol=1e-11, err_msg=name
            )


def test_one_step_from_a_generic_state_equals_the_loops(config):
    memory, state = build_dnc(config, gain=2.0), generic_state(config)
    x = torch.randn(1, len(state.h), IN, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert_equal_to_oracle(memory, x, torch.zeros(1, len(state.h), dtype=torch.bool), state)


def test_an_unroll_with_resets_equals_the_loops(config):
    memory, state, T = build_dnc(config, gain=2.0), generic_state(config), 5
    x = torch.randn(T, len(state.h), IN, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert_equal_to_oracle(memory, x, random_start(T, len(state.h), seed=3), state)
