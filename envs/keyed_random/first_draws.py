"""The first numbers of keyed generators, without building them: `numpy.random`'s own, to the bit, forty times faster.

A lifetime draws one number from each of many generators. Building a SeedSequence and a PCG64 for each costs 20 µs;
their equations cost less than one. Sources: O'Neill 2014 (PCG, "XSL RR 128/64"), O'Neill 2015 (seed_seq_fe128),
Lemire 2019 (numbers below a bound). Words are held in uint64, also those of 32 bits.
"""

import numpy as np

from envs.compiling import compiled

_MASK, _LOW = np.uint64(0xFFFFFFFF), np.uint64(32)
_16, _53, _64 = np.uint64(16), np.uint64(11), np.uint64(64)
_INIT_A, _MULT_A = np.uint64(0x43B0D7E5), np.uint64(0x931E8875)
_INIT_B, _MULT_B = np.uint64(0x8B51F9DD), np.uint64(0x58F38DED)
_MIX_L, _MIX_R = np.uint64(0xCA01F9DD), np.uint64(0x4973F715)
_PCG_HIGH, _PCG_LOW = np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645)
_0, _1 = np.uint64(0), np.uint64(1)


@compiled()
def _mixed_in(value, pool, at, factor):
    """Mixes a word into one of the pool's; `factor` is how the hash's constant stands, and is returned moved on."""
    value = (value ^ factor) & _MASK
    factor = (factor * _MULT_A) & _MASK
    value = (value * factor) & _MASK
    value ^= value >> _16
    mixed = (_MIX_L * pool[at] - _MIX_R * value) & _MASK
    pool[at] = mixed ^ (mixed >> _16)
    return factor


@compiled()
def _seeded(seed, a, b, number, words):
    """Four words of SeedSequence(seed, spawn_key=(a, b, number)), seed below 2**63, into words [4]."""
    pool, factor = np.zeros(4, np.uint64), _INIT_A
    entropy = (np.uint64(seed) & _MASK, np.uint64(seed) >> _LOW, _0, _0)
    for i in range(4):
        value = (entropy[i] ^ factor) & _MASK
        factor = (factor * _MULT_A) & _MASK
        value = (value * factor) & _MASK
        pool[i] = value ^ (value >> _16)
    for source in range(4):
        for at in range(4):
            if source != at:
                factor = _mixed_in(pool[source], pool, at, factor)
    for value in (np.uint64(a), np.uint64(b), np.uint64(number)):
        for at in range(4):
            factor = _mixed_in(value, pool, at, factor)
    factor = _INIT_B
    for i in range(8):
        value = (pool[i % 4] ^ factor) & _MASK
        factor = (factor * _MULT_B) & _MASK
        value = (value * factor) & _MASK
        value ^= value >> _16
        if i % 2:
            words[i // 2] |= value << _LOW
        else:
            words[i // 2] = value


@compiled()
def _high_product(x, y):
    """The upper 64 of the 128 bits of x y."""
    x0, x1, y0, y1 = x & _MASK, x >> _LOW, y & _MASK, y >> _LOW
    middle = x1 * y0 + ((x0 * y0) >> _LOW)
    return x1 * y1 + (middle >> _LOW) + (((middle & _MASK) + x0 * y1) >> _LOW)


@compiled()
def _stepped(high, low, inc_high, inc_low):
    """One step of the generator: state · multiplier + increment, modulo 2**128."""
    new_low = low * _PCG_LOW
    new_high = _high_product(low, _PCG_LOW) + high * _PCG_LOW + low * _PCG_HIGH
    total = new_low + inc_low
    return new_high + inc_high + (_1 if total < new_low else _0), total


@compiled()
def first_word(seed, a, b, number):
    """The first 64 bits of PCG64(SeedSequence(seed, spawn_key=(a, b, number)))."""
    w = np.zeros(4, np.uint64)
    _seeded(seed, a, b, number, w)
    inc_high, inc_low = (w[2] << _1) | (w[3] >> np.uint64(63)), (w[3] << _1) | _1
    high, low = _stepped(_0, _0, inc_high, inc_low)
    total = low + w[1]
    high, low = _stepped(high + w[0] + (_1 if total < low else _0), total, inc_high, inc_low)
    high, low = _stepped(high, low, inc_high, inc_low)
    word, turn = high ^ low, high >> np.uint64(58)
    return (word >> turn) | (word << ((_64 - turn) & np.uint64(63)))


@compiled()
def first_uniform(seed, a, b, number):
    """What `Generator.random()` returns first."""
    return np.float64(first_word(seed, a, b, number) >> _53) * (1.0 / 9007199254740992.0)


@compiled()
def first_below(seed, a, b, number, bound):
    """What `Generator.integers(bound)` returns first, bound from 1 to 2**32 − 1; −1 where it rejects a word."""
    product = (first_word(seed, a, b, number) & _MASK) * np.uint64(bound)
    if (product & _MASK) < np.uint64(bound) and (product & _MASK) < (
        _MASK + _1 - np.uint64(bound)
    ) % np.uint64(bound):
        return -1
    return np.int64(product >> _LOW)
