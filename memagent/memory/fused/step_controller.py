"""The DNC's controller for one step of some sequences, compiled, forward and backward: LSTM, norm, interface."""

from memagent.memory.fused.arithmetic import (
    FAST,
    add_scaled,
    copy,
    fill,
    fill_rows,
    kernel,
    layer_norm,
    layer_norm_backward,
    sigmoid,
    tanh,
)
from memagent.memory.fused.products import add_products


@kernel(fastmath=FAST, error_model="numpy")
def lstm_cell(gates, c_tm1, c, tanh_c, h):
    """One LSTM cell: gates i, f, g, o, brought into their ranges in place; c, tanh c and h are set."""
    # c = sigmoid(f) c[t-1] + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)
    H = h.shape[0]
    i, f, g, o = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
    sigmoid(gates[: 2 * H])
    sigmoid(o)
    for j in range(H):
        g[j] = tanh(g[j])
    for j in range(H):
        c[j] = f[j] * c_tm1[j] + i[j] * g[j]
    for j in range(H):
        tanh_c[j] = tanh(c[j])
    for j in range(H):
        h[j] = o[j] * tanh_c[j]


@kernel(fastmath=FAST)
def lstm_backward(gates, c_tm1, tanh_c, d_h, d_c, d_gates):
    """Its gradients: d_c becomes that by c[t-1], d_gates is set to that by the gates before their functions."""
    H, one = d_h.shape[0], d_h.dtype.type(1)
    i, f, g, o = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
    d_i, d_f, d_g, d_o = (d_gates[:H], d_gates[H : 2 * H], d_gates[2 * H : 3 * H], d_gates[3 * H :])
    for j in range(H):
        d_o[j] = d_h[j] * tanh_c[j] * o[j] * (one - o[j])
    for j in range(H):
        d_c[j] += d_h[j] * o[j] * (one - tanh_c[j] * tanh_c[j])
    for j in range(H):
        d_i[j] = d_c[j] * g[j] * i[j] * (one - i[j])
    for j in range(H):
        d_f[j] = d_c[j] * c_tm1[j] * f[j] * (one - f[j])
    for j in range(H):
        d_g[j] = d_c[j] * i[j] * (one - g[j] * g[j])
    for j in range(H):
        d_c[j] *= f[j]


@kernel(fastmath=FAST)
def controller_step(t, begin, end, x, start, weights, controller, lstm, xi, y, constants, options):
    """h, c = LSTM([x ; r[t-1]], (h[t-1], c[t-1])), o = norm(h), xi = W_xi o + b_xi of one step of a block."""
    slots, s, H, zero = (controller.h.shape[0], t % lstm.o.shape[0], lstm.o.shape[2], x.dtype.type(0))
    s_tm1, s_t = t % slots, (t + 1) % slots
    I, x_r = x.shape[2], lstm.x_r[s, begin:end]  # noqa: E741
    gates, o = lstm.gates[s, begin:end], lstm.o[s, begin:end]
    for b in range(begin, end):
        if start[t, b]:
            fill(controller.h[s_tm1, b], zero)
            fill(controller.c[s_tm1, b], zero)
            fill(controller.r[s_tm1, b], zero)
        copy(weights.bias, lstm.gates[s, b])
        copy(x[t, b], x_r[b - begin, :I])
        copy(controller.r[s_tm1, b], x_r[b - begin, I:])
        copy(weights.interface_bias, xi[s, b])
    add_products(gates, x_r, weights.weight_ih)
    add_products(gates, controller.h[s_tm1, begin:end], weights.weight_hh)
    for b in range(begin, end):
        h = controller.h[s_t, b]
        lstm_cell(lstm.gates[s, b], controller.c[s_tm1, b], controller.c[s_t, b], lstm.tanh_c[s, b], h)
        if options.layer_norm:
            scale, shift, eps = weights.o_scale, weights.o_shift, constants.norm_eps
            lstm.o_rstd[s, b] = layer_norm(h, scale, shift, eps, lstm.o_hat[s, b], lstm.o[s, b])
        else:
            copy(h, lstm.o[s, b])
        copy(lstm.o[s, b], y[t, b, :H])
    add_products(xi[s, begin:end], o, weights.interface)


@kernel(fastmath=FAST)
def controller_step_backward(
    t, begin, end, d_y, weights, controller, lstm, d_state, d_steps, d_vectors, options, d_o, d_h
):  # fmt: skip
    """From the gradients by xi, y and the state after step t to those by the gates and by h, c and r before it."""
    H, zero, one = lstm.o.shape[2], d_h.dtype.type(0), d_h.dtype.type(1)
    for b in range(begin, end):
        copy(d_y[t, b, :H], d_o[b - begin])
        add_scaled(d_vectors.interface_bias[b], one, d_steps.xi[t, b])
    add_products(d_o, d_steps.xi[t, begin:end], weights.interface)
    for b in range(begin, end):
        d_o_b, d_gates = d_o[b - begin], d_steps.gates[t, b]
        if options.layer_norm:
            d_scale, d_shift = d_vectors.o_scale[b], d_vectors.o_shift[b]
            layer_norm_backward(
                d_o_b, weights.o_scale, lstm.o_hat[t, b], lstm.o_rstd[t, b], d_h, d_scale, d_shift
            )
        else:
            copy(d_o_b, d_h)
        add_scaled(d_h, one, d_state.h[0, b])
        lstm_backward(lstm.gates[t, b], controller.c[t, b], lstm.tanh_c[t, b], d_h, d_state.c[0, b], d_gates)
        add_scaled(d_vectors.bias[b], one, d_gates)
    fill_rows(d_state.r[0, begin:end], zero)
    fill_rows(d_state.h[0, begin:end], zero)
    add_products(d_state.r[0, begin:end], d_steps.gates[t, begin:end], weights.weight_ih)
    add_products(d_state.h[0, begin:end], d_steps.gates[t, begin:end], weights.weight_hh)
