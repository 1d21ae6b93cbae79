"""Arithmetic on rows, for the fused kernels: exponentials, softmax, products, layer norm, and their derivatives.

LLVM turns a loop into vector code when it sums into scalars, or writes one array and reads a few others, so that
few pairs need a check for overlap. Literals take the arrays' type: a Python float would promote all to float64.
"""

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from envs.compiling import compiled

# Sums may be reordered (for vector lanes) and a*b + c fused; NaN and infinity keep their meaning.
FAST = {"reassoc", "contract", "nsz"}


def kernel(*, cache: bool = False, **options: Any) -> Any:
    """numba.njit for functions that make no arrays and call kernels alone, and so need not count references.

    Counting those of every view of an array takes a fifth of the time. `cache` keeps what is compiled on disk.
    """
    return (compiled if cache else njit)(**{"_nrt": False} | options)


def exp(x):
    """e^x; in float32 by a polynomial that vectorises, good to one unit in the last place."""
    raise NotImplementedError("exp is for compiled code alone: call it from a function under njit.")


@overload(exp, jit_options={"fastmath": {"contract"}})
def _exp_of(x):
    if x != types.float32:
        return lambda x: math.exp(x)  # noqa: PLW0108 - Numba needs a Python function
    lowest, highest, one = np.float32(-87.0), np.float32(88.0), np.float32(1.0)
    log2_e, ln2_high, ln2_low = (np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4))
    rounder, exponent_of_rounder = np.float32(12582912.0), np.int32(0x4B400000 - 127)
    a2, a3, a4 = (np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2))
    a5, a6, a7 = (np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4))

    def polynomial(x):
        # x = n ln 2 + y, |y| <= ln 2 / 2;  e^x = 2^n (1 + y + y^2 P(y)), P as in Cephes' expf
        x = min(max(x, lowest), highest)
        shifted = x * log2_e + rounder
        n = shifted - rounder
        y = (x - n * ln2_high) - n * ln2_low
        p = ((((a7 * y + a6) * y + a5) * y + a4) * y + a3) * y + a2
        exponent = np.int32((np.float32(shifted).view(np.int32) - exponent_of_rounder) << np.int32(23))
        return (p * y * y + y + one) * exponent.view(np.float32)

    return polynomial


def tanh(x):
    """The hyperbolic tangent of x; in float32 vectorised, good to two units in the last place, near 0 too."""
    raise NotImplementedError("tanh is for compiled code alone: call it from a function under njit.")


@overload(tanh, jit_options={"fastmath": {"contract"}, "error_model": "numpy"})
def _tanh_of(x):
    if x != types.float32:
        return lambda x: math.tanh(x)  # noqa: PLW0108 - as above
    one, two, near = np.float32(1.0), np.float32(2.0), np.float32(0.625)
    a3, a5, a7 = np.float32(-3.33332819422e-1), np.float32(1.33314422036e-1), np.float32(-5.37397155531e-2)
    a9, a11 = np.float32(2.06390887954e-2), np.float32(-5.70498872745e-3)

    def polynomial_or_exponential(x):
        # x + x^3 P(x^2) near 0, P as in Cephes' tanhf;  else 1 - 2 / (e^2x + 1)
        z = x * x
        inner = ((((a11 * z + a9) * z + a7) * z + a5) * z + a3) * z * x + x
        outer = one - two / (exp(two * x) + one)
        return inner if abs(x) < near else outer

    return polynomial_or_exponential


@kernel()
def fill(out, value):
    """out_j = value."""
    for j in range(out.shape[0]):
        out[j] = value


@kernel()
def fill_rows(out, value):
    """out_ij = value."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = value


@kernel()
def copy(a, out):
    """out_j = a_j."""
    for j in range(out.shape[0]):
        out[j] = a[j]


@kernel(fastmath=FAST)
def dot(a, b):
    """sum_j a_j b_j."""
    total = a.dtype.type(0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@kernel(fastmath=FAST)
def add_scaled(out, scale, a):
    """out_j += scale a_j."""
    for j in range(out.shape[0]):
        out[j] += scale * a[j]


@kernel(fastmath=FAST, error_model="numpy")
def sigmoid(x):
    """x_j = 1 / (1 + e^-x_j), in place."""
    one = x.dtype.type(1)
    for j in range(x.shape[0]):
        x[j] = one / (one + exp(-x[j]))


@kernel(fastmath=FAST)
def sigmoid_backward(s, d):
    """The gradient d by s = sigmoid(x) becomes that by x."""
    one = s.dtype.type(1)
    for j in range(s.shape[0]):
        d[j] *= s[j] * (one - s[j])


@kernel(fastmath=FAST)
def oneplus(x, bias):
    """x_j = 1 + log(1 + e^(x_j + bias)), in place."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for j in range(x.shape[0]):
        z = x[j] + bias
        x[j] = one + max(z, zero) + x.dtype.type(math.log1p(math.exp(-abs(z))))


@kernel(fastmath=FAST)
def oneplus_backward(y, d):
    """The gradient d by y = oneplus(x) becomes that by x: dy/dx = 1 - e^(1 - y)."""
    one = y.dtype.type(1)
    for j in range(y.shape[0]):
        d[j] *= -y.dtype.type(math.expm1(one - y[j]))


@kernel(fastmath={"reassoc", "nsz", "nnan"})
def _largest(x):
    largest = x[0]
    for j in range(x.shape[0]):
        largest = x[j] if x[j] > largest else largest  # noqa: FURB136 - max does not vectorise
    return largest


@kernel(fastmath=FAST, error_model="numpy")
def softmax(x, strength, out):
    """The softmax of strength x (strength > 0), into out."""
    largest, total = _largest(x), x.dtype.type(0)
    for j in range(x.shape[0]):
        out[j] = exp(strength * (x[j] - largest))
    for j in range(x.shape[0]):
        total += out[j]
    scale = x.dtype.type(1) / total
    for j in range(x.shape[0]):
        out[j] *= scale


@kernel(fastmath=FAST)
def softmax_backward(y, strength, x, d):
    """The gradient d by y = softmax(strength x) becomes that by x. Returns the one by the strength."""
    # d_x = strength y (d - y . d)
    total, d_strength = dot(y, d), y.dtype.type(0)
    for j in range(y.shape[0]):
        d[j] = y[j] * (d[j] - total)
    for j in range(y.shape[0]):
        d_strength += d[j] * x[j]
    for j in range(y.shape[0]):
        d[j] *= strength
    return d_strength


@kernel(fastmath=FAST, error_model="numpy")
def layer_norm(x, scale, shift, eps, hat, out):
    """hat = (x - mean) rstd, out = scale hat + shift. Returns rstd."""
    one, size = x.dtype.type(1), x.dtype.type(x.shape[0])
    mean, variance = x.dtype.type(0), x.dtype.type(0)
    for j in range(x.shape[0]):
        mean += x[j]
    mean /= size
    for j in range(x.shape[0]):
        variance += (x[j] - mean) * (x[j] - mean)
    rstd = one / np.sqrt(variance / size + eps)
    for j in range(x.shape[0]):
        hat[j] = (x[j] - mean) * rstd
    for j in range(x.shape[0]):
        out[j] = scale[j] * hat[j] + shift[j]
    return rstd


@kernel(fastmath=FAST, error_model="numpy")
def layer_norm_backward(d_out, scale, hat, rstd, d_x, d_scale, d_shift):
    """d_x = rstd (d_hat - mean d_hat - hat mean(d_hat hat)), d_hat = scale d_out; adds to d_scale and d_shift."""
    size, mean, mean_hat = hat.dtype.type(hat.shape[0]), hat.dtype.type(0), hat.dtype.type(0)
    for j in range(hat.shape[0]):
        mean += d_out[j] * scale[j]
        mean_hat += d_out[j] * scale[j] * hat[j]
    mean /= size
    mean_hat /= size
    for j in range(hat.shape[0]):
        d_x[j] = rstd * (d_out[j] * scale[j] - mean - hat[j] * mean_hat)
    for j in range(hat.shape[0]):
        d_scale[j] += d_out[j] * hat[j]
    for j in range(hat.shape[0]):
        d_shift[j] += d_out[j]
