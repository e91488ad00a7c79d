"""Along rows: sums, means, softmax, norms of vectors, ``layer_norm``, and which of equal values a sort puts first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from reportlib.compare.roots.mechanisms.arithmetic import (
    Float32,
    MultiplyAdd,
    Sum,
    add_square,
    add_square_fused,
    cascade,
    exact,
    fma,
    halves,
    in_register,
    lanes_then_rest,
    left_to_right,
    multiply_then_add,
    one_after_another,
)
from reportlib.compare.roots.mechanisms.cases import Case, Explanation, Problem, last_axis_rows, only_output
from reportlib.compare.roots.mechanisms.elementwise import exp_onednn, exp_sleef
from reportlib.floats import Array

_EXPONENTIALS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("Sleef's exponential", exp_sleef),
    ("a correctly rounded exponential", lambda x: np.exp(x.astype(np.float64)).astype(np.float32)),
    ("oneDNN's exponential", exp_onednn),
)
_ORDERS: tuple[tuple[str, str, Sum], ...] = (
    *(
        (f"{width} lanes", f"added in {width} lanes, these as a tree", partial(in_register, width=width))
        for width in (8, 16, 4, 32)
    ),
    ("one after another", "added one after another", one_after_another),
    ("float64", "added in float64 and rounded", exact),
)
#: Rows longer than this are not sorted step by step in Python: it would take a minute and more.
LONGEST_INTROSORT = 400_000
#: Below this many elements libstdc++ leaves the rest to an insertion sort.
_THRESHOLD = 16


def softmax(case: Case) -> Problem | None:
    """Return the ways to compute ``_softmax``, ``softmax``, ``_log_softmax`` and ``log_softmax`` of float32."""
    outputs, given = only_output(case), case.tensor("self")
    if outputs is None or given is None or case.operation not in ("_softmax", "softmax", "_log_softmax", "log_softmax"):
        return None
    if {given.dtype, outputs[0].dtype} != {"float32"} or given.values.ndim == 0:
        return None
    axis = int(case.value("dim", -1))
    a, b = ((last_axis_rows(tensor.values, axis),) for tensor in outputs)
    ways = _log_softmaxes() if "log" in case.operation else _softmaxes()
    return Problem((last_axis_rows(given.values, axis),), a, b, tuple(ways))


def _softmaxes() -> Iterator[Explanation]:
    for (exp_name, exponential), (name, words, total), reciprocal in itertools.product(
        _EXPONENTIALS, _ORDERS, (True, False)
    ):
        last = "times the sum's reciprocal" if reciprocal else "divided by the sum"
        yield Explanation(
            f"{exp_name}, {name}, {last}",
            f"{exp_name} of what is left after subtracting the row's maximum, {words}, {last}, all in float32",
            partial(_softmax, exponential, total, reciprocal),
        )


def _softmax(exponential: Callable[[Array], Array], total: Sum, reciprocal: bool, rows: Array) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        powers = exponential(rows - rows.max(axis=1, keepdims=True))
        sums = total(powers)[:, None]
        return ((powers * (np.float32(1) / sums) if reciprocal else powers / sums).astype(np.float32),)


def _log_softmaxes() -> Iterator[Explanation]:
    for (exp_name, exponential), (name, words, total) in itertools.product(_EXPONENTIALS, _ORDERS):
        yield Explanation(
            f"{exp_name}, {name}, a correctly rounded logarithm",
            f"{exp_name} of what is left after subtracting the row's maximum, {words}; then the maximum and the sum's"
            " correctly rounded logarithm subtracted, in float32",
            partial(_log_softmax, exponential, total),
        )


def _log_softmax(exponential: Callable[[Array], Array], total: Sum, rows: Array) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        left = rows - rows.max(axis=1, keepdims=True)
        logarithm = np.log(total(exponential(left)).astype(np.float64)).astype(np.float32)
        return (left - logarithm[:, None],)


def sums(case: Case) -> Problem | None:
    """Return the ways to compute ``sum`` and ``mean`` of float32 along one axis, or of everything."""
    outputs, given = only_output(case), case.tensor("self")
    if outputs is None or given is None or case.operation not in ("sum", "mean"):
        return None
    axes = case.value("dim", [])
    axes = [axes] if isinstance(axes, int) else (axes or [])
    if {given.dtype, outputs[0].dtype} != {"float32"} or len(axes) > 1 or given.values.size == 0:
        return None
    rows = last_axis_rows(given.values, axes[0]) if axes else given.values.reshape(1, -1)
    a, b = ((tensor.values.reshape(-1),) for tensor in outputs)
    return Problem((rows,), a, b, tuple(_sums(case.operation == "mean")))


def _sums(mean: bool) -> Iterator[Explanation]:
    ways: list[tuple[str, str, Sum]] = []
    for width, unrolled in itertools.product((8, 16, 4, 1), (4, 1)):
        lanes = f"{width} lanes, {unrolled} streams" if width > 1 else f"{unrolled} streams"
        ways.append(
            (
                f"cascade in {lanes}",
                f"the cascade sum of ATen (four levels) in {lanes}",
                partial(cascade, width=width, unrolled=unrolled),
            )
        )
    ways += [(name, f"the numbers {words}", total) for name, words, total in _ORDERS]
    for name, words, total in ways:
        yield Explanation(name, words + (", divided by their number" if mean else ""), partial(_sum, total, mean))


def _sum(total: Sum, mean: bool, rows: Array) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        found = total(rows)
        return ((found / np.float32(rows.shape[1]) if mean else found).astype(np.float32),)


# ``layer_norm`` and norms of vectors, along contiguous rows.


#: Returns mean and variance, (rows,) each, of (rows, n).
Moments = Callable[[Array], tuple[Array, Array]]
#: Steps that ATen's Welford algorithm takes before it merges.
_CHUNK = 16
#: How many values, mean and sum of squared distances.
_Part = tuple[int, Array, Array]


def vector_norm(case: Case) -> Problem | None:
    """Return the ways to compute the Euclidean norm of float32 rows."""
    outputs, given = only_output(case), case.tensor("self")
    if outputs is None or given is None or case.operation not in ("linalg_vector_norm", "norm"):
        return None
    order = case.value("ord", 2) if case.operation == "linalg_vector_norm" else case.value("p", 2)
    axes = case.value("dim")
    if order not in (None, 2) or {given.dtype, outputs[0].dtype} != {"float32"} or not isinstance(axes, list):
        return None
    if len(axes) != 1:
        return None
    a, b = ((tensor.values.reshape(-1),) for tensor in outputs)
    return Problem((last_axis_rows(given.values, axes[0]),), a, b, tuple(explanations_of_vector_norm()))


def explanations_of_vector_norm() -> Iterator[Explanation]:
    """Yield the ways to compute it."""
    for width, (steps, rest), (word, fold) in itertools.product(
        (8, 16, 4),
        ((True, True), (False, False), (False, True)),
        (("one after another", left_to_right), ("as a tree", halves)),
    ):
        words = "fused multiply-adds" if steps else "squares rounded before they are added,"
        short = "fused" if steps else "not fused"
        if steps != rest:
            words, short = f"{words} but for what does not fill a vector,", f"{short} but for the rest"
        yield Explanation(
            f"{width} lanes, {short}, added {word}",
            f"{words} in {width} float32 lanes, the lanes added {word}, then the square root",
            partial(
                _root,
                partial(
                    lanes_then_rest,
                    width=width,
                    step=add_square_fused if steps else add_square,
                    fold=fold,
                    rest=add_square_fused if rest else add_square,
                ),
            ),
        )
    for name, step in (("fused", add_square_fused), ("not fused", add_square)):
        yield Explanation(
            f"one after another, {name}",
            f"the squares added one after another in float32, {name}, then the square root",
            partial(_root, partial(one_after_another, step=step)),
        )
    yield Explanation(
        "float64, rounded once",
        "the float64 result, rounded once to float32",
        lambda rows: (np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32),),
    )


def _root(total: Callable[[Array], Array], rows: Array) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        return (np.sqrt(total(rows)).astype(np.float32),)


def layer_norm(case: Case) -> Problem | None:
    """Return the ways to compute ``native_layer_norm`` (with mean and reciprocal deviation) or ``layer_norm``."""
    given = case.tensor("input")
    if given is None or case.operation not in ("native_layer_norm", "layer_norm") or len(case.a) != len(case.b):
        return None
    if any(tensor.dtype != "float32" for tensor in (*case.inputs, *case.a, *case.b)):
        return None
    n = int(np.prod(case.value("normalized_shape"), dtype=np.int64))
    weight, bias = case.tensor("weight"), case.tensor("bias")
    rows = given.values.reshape(-1, n)
    if [tensor.values.size for tensor in case.a] not in ([rows.size, len(rows), len(rows)], [rows.size]):
        return None
    outputs = [tuple(tensor.values.reshape(len(rows), -1) for tensor in side) for side in (case.a, case.b)]
    scale = weight.values.reshape(-1) if weight is not None else np.ones(n, dtype=np.float32)
    shift = bias.values.reshape(-1) if bias is not None else np.zeros(n, dtype=np.float32)
    parameters = (scale, shift, np.float32(case.value("eps", 1e-5)), len(case.a))
    return Problem((rows,), outputs[0], outputs[1], tuple(_layer_norms(parameters)))


_Parameters = tuple[Array, Array, np.float32, int]


def _layer_norms(parameters: _Parameters) -> Iterator[Explanation]:
    for (moments_name, moments_words, moments), last, fused in itertools.product(
        _moments(), (_scaled_first, _centred_first), (True, False)
    ):
        form = "x times scale plus shift" if last is _scaled_first else "x minus mean, times scale"
        add = "fused multiply-adds" if fused else "products rounded before they are added"
        yield Explanation(
            f"{moments_name}; {form}, {'fused' if fused else 'not fused'}",
            f"{moments_words}; then {form} (the reciprocal deviation), with {add}",
            partial(_layer_norm, moments, last, fma if fused else multiply_then_add, parameters),
        )


def _moments() -> Iterator[tuple[str, str, Moments]]:
    for width, fused, merged in itertools.product((8, 16, 4), (True, False), (True, False)):
        steps, merges = ("fused" if flag else "not fused" for flag in (fused, merged))
        yield (
            f"Welford in {width} lanes, {steps}, merges {merges}",
            f"mean and variance by Welford's algorithm in {width} float32 lanes, {steps}, merged {merges}",
            partial(welford, width=width, fused=fused, merged=merged),
        )
    yield "moments in float64", "mean and variance in float64, rounded to float32", _float64_moments


def _layer_norm(
    moments: Moments,
    last: Callable[[MultiplyAdd, Array, Array, Array, Array, Array], Array],
    multiply_add: MultiplyAdd,
    parameters: _Parameters,
    rows: Array,
) -> tuple[Array, ...]:
    weight, bias, eps, count = parameters
    with np.errstate(all="ignore"):
        mean, variance = (part[:, None] for part in moments(rows))
        deviation = np.float32(1) / np.sqrt(variance + eps)
        return (last(multiply_add, rows, mean, deviation, weight, bias), mean, deviation)[:count]


def _scaled_first(multiply_add: MultiplyAdd, x: Array, mean: Array, scale: Array, weight: Array, bias: Array) -> Array:
    return multiply_add(multiply_add(x, scale, -scale * mean), weight, bias)


def _centred_first(multiply_add: MultiplyAdd, x: Array, mean: Array, scale: Array, weight: Array, bias: Array) -> Array:
    return multiply_add((x - mean) * scale, weight, bias)


def _float64_moments(rows: Array) -> tuple[Array, Array]:
    wide = rows.astype(np.float64)
    return wide.mean(axis=1).astype(np.float32), wide.var(axis=1).astype(np.float32)


def welford(rows: Array, width: int, fused: bool, merged: bool) -> tuple[Float32, Float32]:
    """Return mean and variance of float32 rows (r, n) as ATen computes them, (r,) each.

    `width` lanes run Welford's algorithm over chunks of 16 vectors. Chunks are merged pairwise, then lanes one after
    another, then what did not fill a vector.
    Source: pytorch, aten/src/ATen/native/cpu/moments_utils.h (``RowwiseMomentsImpl``).

    Parameters
    ----------
    fused, merged : bool
        Whether a compiler fused the multiplications and additions of the steps, and those of the merges.
    """
    count, n = rows.shape
    vectors = n // width
    chunks = -(-vectors // _CHUNK)
    depth = max((chunks - 1).bit_length(), 1)
    zero = np.zeros((count, width), dtype=np.float32)
    stack: list[_Part] = [(0, zero, zero)] * depth
    merge = partial(_merge, fma if fused else multiply_then_add, merged)
    for chunk in range(chunks):
        start = chunk * _CHUNK
        lanes = rows[:, start * width : min(start + _CHUNK, vectors) * width].reshape(count, -1, width)
        stack[0] = merge(_chunk_moments(lanes, fused), stack[0])
        level, mask = 1, chunk + 1
        while level < depth and mask % 2 == 0:
            stack[level] = merge(stack[level - 1], stack[level])
            stack[level - 1] = (0, zero, zero)
            level, mask = level + 1, mask // 2
    whole = stack[0]
    for part in stack[1:]:
        whole = merge(part, whole)
    total = _rest_moments(rows[:, vectors * width :], fused)
    for lane in range(width):
        total = merge((vectors, whole[1][:, lane], whole[2][:, lane]), total)
    return np.asarray(total[1]), np.asarray(total[2] / np.float32(n))


def _chunk_moments(values: Array, fused: bool) -> _Part:
    """Run Welford's algorithm over axis 1 of (rows, steps, lanes)."""
    multiply_add = fma if fused else multiply_then_add
    mean = np.zeros((values.shape[0], values.shape[2]), dtype=np.float32)
    squares = mean
    for step in range(values.shape[1]):
        x = values[:, step]
        distance = x - mean
        mean = multiply_add(distance, np.float32(1) / np.float32(step + 1), mean)
        squares = multiply_add(distance, x - mean, squares)
    return values.shape[1], mean, squares


def _rest_moments(values: Array, fused: bool) -> _Part:
    """Run it over the columns that did not fill a vector; here the compiler divides."""
    multiply_add = fma if fused else multiply_then_add
    mean = np.zeros(len(values), dtype=np.float32)
    squares = mean
    for column in range(values.shape[1]):
        x = values[:, column]
        distance = x - mean
        mean = mean + distance / np.float32(column + 1)
        squares = multiply_add(distance, x - mean, squares)
    return values.shape[1], mean, squares


def _merge(multiply_add: MultiplyAdd, fused: bool, added: _Part, into: _Part) -> _Part:
    number = into[0] + added[0]
    if number == 0:
        return into
    share = np.float32(added[0]) / np.float32(number)
    distance = added[1] - into[1]
    mean = multiply_add(share, distance, into[1])
    last = fma if fused else multiply_then_add
    squares = into[2] + last(distance * distance * share, np.float32(into[0]), added[2])
    return number, mean, np.asarray(squares)


def sorting(case: Case) -> Problem | None:
    """Return the ways to order equal values in ``sort``, ``argsort`` and ``topk``."""
    given = case.tensor("self")
    if given is None or case.operation not in ("sort", "argsort", "topk") or given.values.ndim == 0:
        return None
    shapes = {tensor.values.shape for tensor in (*case.a, *case.b)}
    if len(shapes) != 1 or len(case.a) != len(case.b) or np.isnan(given.values.astype(np.float64)).any():
        return None
    axis = int(case.value("dim", -1))
    if case.operation == "topk":
        descending, length = bool(case.value("largest", True)), int(case.value("k"))
    else:
        descending, length = bool(case.value("descending", False)), given.values.shape[axis]
    rows = last_axis_rows(given.values, axis)
    a, b = (tuple(last_axis_rows(tensor.values, axis) for tensor in side) for side in (case.a, case.b))
    kinds = "i" if case.operation == "argsort" else "vi"
    introsort = case.operation != "topk" and rows.shape[1] <= LONGEST_INTROSORT
    return Problem((rows,), a, b, tuple(_sorts(descending, length, kinds, introsort)))


def _sorts(descending: bool, length: int, kinds: str, introsort: bool) -> Iterator[Explanation]:
    order = "descending" if descending else "ascending"
    yield Explanation(
        "stable",
        f"a stable {order} sort: equal values keep the order of their places",
        partial(_stable, descending, length, kinds, False),
    )
    yield Explanation(
        "ties backwards",
        f"a stable {order} sort of the row read backwards: of equal values the last comes first",
        partial(_stable, descending, length, kinds, True),
    )
    if introsort:
        yield Explanation(
            "std::sort of libstdc++",
            f"an unstable {order} sort by libstdc++'s std::sort: quicksort with the median of three, then insertion",
            partial(_unstable, descending, kinds),
        )


def _taken(rows: Array, order: Array, kinds: str) -> tuple[Array, ...]:
    values = np.take_along_axis(rows, order, axis=1)
    return tuple({"v": values, "i": order}[kind] for kind in kinds)


def _stable(descending: bool, length: int, kinds: str, backwards: bool, rows: Array) -> tuple[Array, ...]:
    n = rows.shape[1]
    # A stable ascending sort read backwards has ties backwards; a row read backwards turns that round once more.
    given = rows[:, ::-1] if backwards != descending else rows
    order = np.argsort(given, axis=1, kind="stable")
    if backwards != descending:
        order = n - 1 - order
    if descending:
        order = order[:, ::-1]
    return _taken(rows, np.ascontiguousarray(order[:, :length]).astype(np.int64), kinds)


def _unstable(descending: bool, kinds: str, rows: Array) -> tuple[Array, ...] | None:
    orders = []
    for row in rows:
        # Only comparisons matter, so the negated rank sorts descending without minding the dtype.
        _, ranks = np.unique(row, return_inverse=True)
        order = introsort((-ranks if descending else ranks).tolist())
        if order is None:
            return None
        orders.append(order)
    return _taken(rows, np.array(orders, dtype=np.int64).reshape(len(rows), -1), kinds)


def introsort(keys: list[int]) -> list[int] | None:
    """Return the order in which libstdc++'s ``std::sort`` leaves `keys`, ascending; `keys` is sorted in place.

    None where it would go on with a heap sort, which happens only to rows that were made for it.
    Source: libstdc++, bits/stl_algo.h (``__introsort_loop``, ``__final_insertion_sort``).
    """
    n = len(keys)
    order = list(range(n))
    waiting = [(0, n, 2 * (n.bit_length() - 1))] if n else []
    while waiting:
        first, last, depth = waiting.pop()
        while last - first > _THRESHOLD:
            if depth == 0:
                return None
            depth -= 1
            cut = _partition(keys, order, first, last)
            # The parts do not overlap, so which one is sorted first changes nothing.
            waiting.append((cut, last, depth))
            last = cut
    _insertion_sort(keys, order)
    return order


def _partition(keys: list[int], order: list[int], first: int, last: int) -> int:
    """Move the median of three to the front and split the rest around it; return where the right part begins."""
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    if keys[a] < keys[b]:
        median = b if keys[b] < keys[c] else (c if keys[a] < keys[c] else a)
    else:
        median = a if keys[a] < keys[c] else (c if keys[b] < keys[c] else b)
    keys[first], keys[median] = keys[median], keys[first]
    order[first], order[median] = order[median], order[first]
    pivot, left, right = keys[first], first + 1, last
    while True:
        while keys[left] < pivot:
            left += 1
        right -= 1
        while pivot < keys[right]:
            right -= 1
        if left >= right:
            return left
        keys[left], keys[right] = keys[right], keys[left]
        order[left], order[right] = order[right], order[left]
        left += 1


def _insertion_sort(keys: list[int], order: list[int]) -> None:
    for index in range(1, len(keys)):
        key, place = keys[index], index
        moved = order[index]
        while place > 0 and key < keys[place - 1]:
            keys[place], order[place] = keys[place - 1], order[place - 1]
            place -= 1
        keys[place], order[place] = key, moved
