"""Explicit vectors for the fused kernels: as many numbers as one instruction of this processor works on.

LLVM vectorises simple loops by itself. A loop that reads ten rows and adds to six, all while they are in registers,
it leaves scalar; written with lanes it is what it says. `load(row, m, count)` and `store(row, m, count, v)` move
row[m : m + count]; with count = width(row) that is one instruction, with less (the end of a row) the other lanes are
zero and stay where they are. Arithmetic is that of operators, products and sums fused.
"""

import operator
from typing import Any

from llvmlite import binding, ir
from numba import extending, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import models, overload, register_model

BITS = 512 if binding.get_host_cpu_features().get("avx512f") else 256
WIDTHS = {types.float32: BITS // 32, types.float64: BITS // 64}
FLAGS = ("contract", "nsz")  # not reassoc: sums are taken in the order written, whatever is beside them
intrinsic: Any = extending.intrinsic  # whose type knows nothing of the context that comes first


class Lanes(types.Type):
    """The Numba type of one vector."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        scalar = ir.FloatType() if lanes.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, lanes, ir.VectorType(scalar, WIDTHS[lanes.dtype]))


def width(row):
    """How many numbers of row's type one vector holds."""
    raise NotImplementedError("width is for compiled code alone: call it from a function under njit.")


@overload(width)
def _width(row):
    size = WIDTHS[row.dtype]
    return lambda row: size


def _check_place(array: Any, index: Any) -> None:
    # A contiguous array and a number for each of its dimensions.
    indices = getattr(index, "types", (index,))
    if not (isinstance(array, types.Array) and array.layout == "C" and array.dtype in WIDTHS):
        raise TypingError(f"{array} was given, expected a contiguous array of float32 or float64.")
    if len(indices) != array.ndim or not all(isinstance(i, types.Integer) for i in indices):
        raise TypingError(f"{index} was given as place in {array}, expected {array.ndim} integers.")


def _pointer(context: Any, builder: Any, array: Any, index: Any, values: Any, vector: Any) -> Any:
    arrays = context.make_array(array)(context, builder, values[0])
    kinds = getattr(index, "types", (index,))
    indices = cgutils.unpack_tuple(builder, values[1], len(kinds)) if len(kinds) > 1 else [values[1]]
    place = ir.IntType(64)(0)
    shape = cgutils.unpack_tuple(builder, arrays.shape, array.ndim)
    for i, kind, size in zip(indices, kinds, shape, strict=True):
        i = context.cast(builder, i, kind, types.intp)
        place = builder.add(builder.mul(place, size), i)
    return builder.bitcast(builder.gep(arrays.data, [place]), vector.as_pointer())


def _mask(builder, count, lanes):
    # Lanes 0 to count - 1
    index = ir.IntType(32)
    vector = ir.VectorType(index, lanes)
    numbers = ir.Constant(vector, [index(i) for i in range(lanes)])
    return builder.icmp_signed("<", numbers, _spread(builder, builder.trunc(count, index), vector))


def _masked(builder, name, result, pointer, vector, arguments):
    # llvm.masked.load (pointer, alignment, mask, otherwise) and llvm.masked.store (value, pointer, alignment, mask)
    scalar = "f32" if vector.element == ir.FloatType() else "f64"
    kind = ir.FunctionType(result, [a.type for a in arguments])
    function = cgutils.get_or_insert_function(
        builder.module, kind, f"llvm.masked.{name}.v{vector.count}{scalar}.p0"
    )
    return builder.call(function, arguments)


@intrinsic
def load(typing_context, array, index, count):
    """The count numbers from array[index] on, zero in the other lanes."""
    _check_place(array, index)
    lanes = Lanes(array.dtype)

    def emit(context, builder, signature, args):
        vector = context.get_value_type(lanes)
        pointer = _pointer(context, builder, array, index, args, vector)
        alignment, mask = ir.IntType(32)(array.dtype.bitwidth // 8), _mask(builder, args[2], vector.count)
        arguments = [pointer, alignment, mask, ir.Constant(vector, None)]
        return _masked(builder, "load", vector, pointer, vector, arguments)

    return lanes(array, index, types.intp), emit


@intrinsic
def store(typing_context, array, index, count, v):
    """Write the first count lanes to array[index] and on."""
    _check_place(array, index)

    def emit(context, builder, signature, args):
        vector = args[3].type
        pointer = _pointer(context, builder, array, index, args, vector)
        alignment, mask = ir.IntType(32)(array.dtype.bitwidth // 8), _mask(builder, args[2], vector.count)
        _masked(builder, "store", ir.VoidType(), pointer, vector, [args[3], pointer, alignment, mask])
        return context.get_dummy_value()

    return types.void(array, index, types.intp, Lanes(array.dtype)), emit


def _spread(builder, number, vector):
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.IntType(32)(0))
    return builder.shuffle_vector(
        first,
        ir.Constant(vector, ir.Undefined),
        ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None),
    )


@intrinsic
def spread(typing_context, number):
    """The same number in all lanes."""
    lanes = Lanes(number)

    def emit(context, builder, signature, args):
        return _spread(builder, args[0], context.get_value_type(lanes))

    return lanes(number), emit


@intrinsic
def without(typing_context, v, lane):
    """v, zero in this lane, if there is such a lane."""

    def emit(context, builder, signature, args):
        index = ir.IntType(32)
        vector = ir.VectorType(index, args[0].type.count)
        lanes = ir.Constant(vector, [index(i) for i in range(vector.count)])
        other = builder.icmp_signed("!=", lanes, _spread(builder, builder.trunc(args[1], index), vector))
        return builder.select(other, args[0], ir.Constant(args[0].type, None))

    return v(v, types.int64), emit


def _pair_sums(builder, a, b):
    # a and b with neighbours added: in every four lanes two of a, then two of b (four floats are what shuffles best)
    size = a.type.count
    kind = ir.VectorType(ir.IntType(32), size)
    even, odd = (
        [lane for four in range(first, size, 4) for lane in (four, four + 2, size + four, size + four + 2)]
        for first in (0, 1)
    )
    return builder.fadd(
        *(builder.shuffle_vector(a, b, ir.Constant(kind, i)) for i in (even, odd)), flags=FLAGS
    )


def _fold(builder, v, size):
    # The upper half of the lanes added to the lower, until there are size of them
    while v.type.count > size:
        half = v.type.count // 2
        low, high = (
            builder.shuffle_vector(
                v,
                ir.Constant(v.type, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(begin, begin + half))),
            )
            for begin in (0, half)
        )
        v = builder.fadd(low, high, flags=FLAGS)
    return v


def _totals(builder, a, b, c, d):
    # The sums of four vectors, as the lanes of one
    return _fold(builder, _pair_sums(builder, _pair_sums(builder, a, b), _pair_sums(builder, c, d)), 4)


@intrinsic
def totals(typing_context, a, b, c, d):
    """The sums of the lanes of each of four vectors."""

    def emit(context, builder, signature, args):
        sums = _totals(builder, *args)
        numbers = [builder.extract_element(sums, ir.IntType(32)(i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(a.dtype, 4)(a, a, a, a), emit


@intrinsic
def add_totals(typing_context, array, index, count, a, b, c, d):
    """Add the sums of the lanes of the first count of four vectors to array[index] and on."""
    _check_place(array, index)

    def emit(context, builder, signature, args):
        sums = _totals(builder, *args[3:])
        pointer = _pointer(context, builder, array, index, args, sums.type)
        alignment, mask = ir.IntType(32)(array.dtype.bitwidth // 8), _mask(builder, args[2], 4)
        arguments = [pointer, alignment, mask, ir.Constant(sums.type, None)]
        old = _masked(builder, "load", sums.type, pointer, sums.type, arguments)
        new = builder.fadd(old, sums, flags=FLAGS)
        _masked(builder, "store", ir.VoidType(), pointer, sums.type, [new, pointer, alignment, mask])
        return context.get_dummy_value()

    return types.void(array, index, types.intp, a, a, a, a), emit


@intrinsic
def total(typing_context, v):
    """The sum of the lanes."""

    def emit(context, builder, signature, args):
        return builder.extract_element(_fold(builder, args[0], 1), ir.IntType(32)(0))

    return v.dtype(v), emit


def _arithmetic(function, instruction):
    @intrinsic
    def both(typing_context, a, b):
        def emit(context, builder, signature, args):
            return getattr(builder, instruction)(*args, flags=FLAGS)

        return a(a, a), emit

    @overload(function)
    def operate(a, b):
        if isinstance(a, Lanes) and isinstance(b, Lanes):
            return lambda a, b: both(a, b)  # noqa: PLW0108 - Numba needs a Python function
        if isinstance(a, types.Float) and isinstance(b, Lanes):
            return lambda a, b: both(spread(a), b)
        return None


for _function, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _arithmetic(_function, _instruction)
