"""Naming the mistake behind a wrong gradient: each usual one is a guess, tried until one fits.

A guess says what backward would return had this mistake been made; it fits if that is what
backward did return. Some guesses run the function at other arguments. For example, a backward that
reads y where it needs x returns at x what the right one returns at y.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from minisasrec.autograd.differences import as_column, one_sided
from minisasrec.autograd.subject import Subject

Array = np.ndarray
CLOSE = 1e-5  # of the largest entry: two Jacobians are the same


@dataclass
class Evidence:
    """All that is known of argument `i`. Jacobians have the shape (outputs, *shape of argument)."""

    subject: Subject
    i: int
    y: Array
    cotangent: Array
    whole: Array  # what backward returns for the whole cotangent
    analytic: Sequence[Array]  # of every argument, each row times its cotangent
    numeric: Sequence[Array]
    unit: float  # rounding of one operation of the function

    def __post_init__(self) -> None:
        self.close = max(CLOSE, 3e4 * self.unit)
        self.x = self.subject.arrays[self.i]
        weights = as_column(self.cotangent, self.x)
        self.A, self.J = self.analytic[self.i] / weights, self.numeric[self.i] / weights
        self.close = min(self.close, 0.1 * relative(self.A, self.J))  # a guess explains the error

    def same(self, a: Array, b: Array, close: float = 0) -> bool:
        """Equal up to the accuracy of differences, and not all 0."""
        return same(a, b, close or self.close)

    def numeric_at(self, arrays: Sequence[Array]) -> Array:
        """The Jacobian for argument i at other arguments."""
        step = 1e-5 if self.unit < 1e-10 else 5e-3
        left, right = one_sided(self.subject.value, arrays, self.i, step)
        return (left + right) / 2

    def analytic_at(self, arrays: Sequence[Array]) -> Array:
        """The Jacobian by backward at other arguments."""
        backward = self.subject.at(arrays)
        rows = []
        for o in np.ndindex(self.y.shape):
            dy = np.zeros_like(self.cotangent)
            dy[o] = 1
            rows.append(backward(dy)[self.i])
        return np.array(rows).reshape(self.J.shape)

    def with_x(self, x: Array) -> list[Array]:
        """The arguments with another x."""
        return [x if k == self.i else a for k, a in enumerate(self.subject.arrays)]


def same(a: Array, b: Array, close: float = CLOSE) -> bool:
    """Equal up to `close` times the largest entry; False if b is all zeros."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    size = np.abs(b).max(initial=0)
    return bool(size > 0 and np.abs(a - b).max(initial=0) <= close * size)


def diagnose_evidence(e: Evidence) -> str:
    """The first guess that fits, in words."""
    with np.errstate(all="ignore"):
        for guess in GUESSES:
            try:
                found = guess(e)
            except (ValueError, ArithmeticError, IndexError, TypeError):
                continue  # the function cannot be run at what this guess wanted
            if found:
                return found
    want = e.numeric[e.i].sum(axis=0)
    return diagnose(e.whole, want) if not same(e.whole, want) else diagnose(e.A, e.J)


def diagnose(got: Array, want: Array) -> str:
    """The usual mistake that turns `want` into `got`, in words."""
    for guess in SIMPLE:
        found = guess(got, want)
        if found:
            return found
    wrong = np.abs(got - want) > CLOSE * np.abs(want)
    if 0 < wrong.mean() < 0.5:
        return f"{int(wrong.sum())} of {got.size} entries are wrong, the others right"
    return "no usual mistake fits; check the formula term by term"


def not_linear(e: Evidence, scaled: Array, many: float) -> str:
    """Backward is not linear in dy, as (many * dy), laid out in another way, shows; which way?"""
    once = e.whole
    if not np.isfinite(once).all():
        return _not_finite(once, e.numeric[e.i])
    if same(e.subject.gradients(many * e.cotangent)[e.i], many * once):
        return (
            "backward, or forward, depends on how an array lies in memory (strides): transposed or "
            "sliced dy and arguments, with the same numbers, give another gradient"
        )
    if same(scaled, once):
        return "backward does not use dy: multiply by it (chain rule)"
    if same(scaled, many * many * once):
        return "backward uses dy more than once: dx must be dy times something without dy"
    if once.shape == e.y.shape:
        closed = e.cotangent <= 0
        if not once[closed].any() and once[~closed].any() and not scaled[~closed].any():
            return "the mask asks dy > 0; ask x > 0: forward decided by x what passes"
    if e.subject.gradients(np.zeros_like(e.cotangent))[e.i].any():
        return "a term of dx is there without dy: each term must have it as a factor (chain rule)"
    linear = "dx must be a sum of dy times factors without dy"
    return f"backward is not linear in dy: {linear}; twice the dy must give twice the dx"


# Guesses from two arrays alone


def _not_finite(got: Array, want: Array) -> str:
    if not np.isfinite(want).all():
        return (
            "the function, or its slope times dy, is NaN or infinite here or just beside; check it "
            "at other arguments"
        )
    if not np.isfinite(got).all():
        return "backward returns NaN or infinity (0/0, log 0 or an overflowing exp?)"
    return ""


def _zero(got: Array, want: Array) -> str:
    if not got.any():
        return "backward returns 0: a path from this argument to the result is missing"
    return ""


def _sign(got: Array, want: Array) -> str:
    return "the sign is wrong" if same(got, -want) else ""


def _transposed(got: Array, want: Array) -> str:
    if got.ndim < 2 or got.shape[-1] != got.shape[-2] or same(got, want):
        return ""
    if same(got.swapaxes(-1, -2), want):
        return "the result is transposed"
    if same(got.swapaxes(-1, -2), -want):
        return "the result is transposed and its sign is wrong"
    return ""


def _factor(got: Array, want: Array) -> str:
    size = float((want * want).sum())
    factor = float((got * want).sum()) / size if size else 0.0
    if not factor or not same(got, want * factor, min(CLOSE, 0.01 * abs(1 - factor))):
        return ""
    digits = 4 if abs(1 - factor) > 1e-3 else 8
    return f"every entry is {factor:.{digits}g} times what it should be: a constant factor is wrong"


def _lost(got: Array, want: Array) -> str:
    zero = np.abs(got) < CLOSE * np.abs(want)
    if zero.any() and same(np.where(zero, want, got), want):
        return (
            f"{int(zero.sum())} of {got.size} entries are 0 and should not be: a path is missing, "
            "or repeated indices were assigned instead of added"
        )
    return ""


def _leak(got: Array, want: Array) -> str:
    tiny = CLOSE * np.abs(want).max(initial=0)
    leak = (np.abs(got) > tiny) & (np.abs(want) <= tiny)
    if leak.any() and not (np.abs(np.where(leak, 0, got - want)) > tiny).any():
        return (
            f"{int(leak.sum())} of {got.size} entries should be 0: the gradient also goes where "
            "forward let nothing through (a mask, ReLU, dropout)"
        )
    return ""


def _row_constant(got: Array, want: Array) -> str:
    error = got - want
    if got.ndim and got.shape[-1] > 1 and same(np.broadcast_to(error[..., :1], got.shape), error):
        return (
            "right up to a constant per row: a term that subtracts a row's mean (softmax, layer "
            "norm) is missing"
        )
    return ""


SIMPLE = (_not_finite, _zero, _sign, _transposed, _factor, _lost, _leak, _row_constant)


# Guesses that need more than two arrays


def _of_sums(*guesses: Callable[[Array, Array], str]) -> Callable[[Evidence], str]:
    """A guess about dx for the whole dy, which must hold for its Jacobian, too."""

    def guess(e: Evidence) -> str:
        want = e.numeric[e.i].sum(axis=0)
        for each in guesses:
            found = each(e.whole, want)
            if found and (each is not _factor or each(e.A, e.J)):
                return found
        return ""

    return guess


def _nothing_expected(e: Evidence) -> str:
    if e.J.any() or not e.A.any():
        return ""
    return "the result does not depend on this argument, so every entry should be 0"


def _relu_reversed(e: Evidence) -> str:
    a, j = e.A != 0, np.abs(e.J) > e.close * np.abs(e.J).max(initial=0)
    own = np.eye(e.x.size, dtype=bool).reshape(e.J.shape) if e.y.shape == e.x.shape else None
    if own is not None and a.any() and j.any() and np.array_equal(a, own & ~j):
        return (
            "the mask is the wrong way round: what forward lets through gets 0, the rest does not"
        )
    return ""


def _another_argument(e: Evidence) -> str:
    for k, other in enumerate(e.numeric):
        if k != e.i and e.same(e.analytic[e.i], other):
            name = e.subject.names[k]
            return f"this is the gradient of {name}: the gradients are in another order"
    return ""


def _saved_the_wrong_one(e: Evidence) -> str:
    if e.y.shape != e.x.shape:
        return ""
    at_y = e.with_x(e.y.astype(np.float64))
    numeric = e.numeric_at(at_y)
    defined = np.isfinite(numeric)  # y may lie where f is not defined
    reads_y = np.where(defined, numeric, 0)
    if np.count_nonzero(reads_y) > 2 and e.same(np.where(defined, e.A, 0), reads_y):
        return "backward reads the result y where x is needed"
    if e.same(e.analytic_at(at_y), e.J):
        return "backward reads x where the result y is needed"
    return ""


def _without_T(e: Evidence) -> str:
    """`dy @ b` for `dy @ b.T`: right if b were transposed; or the map itself is."""
    for k, other in enumerate(e.subject.arrays):
        if k != e.i and other.ndim >= 2 and other.shape[-1] == other.shape[-2]:
            arrays = list(e.subject.arrays)
            arrays[k] = np.ascontiguousarray(other.swapaxes(-1, -2))
            if e.same(e.A, e.numeric_at(arrays)):
                return f"{e.subject.names[k]} is used without .T"
    flat_a, flat_j = e.A.reshape(len(e.A), -1), e.J.reshape(len(e.J), -1)
    if e.same(flat_a.T, flat_j):
        return (
            "backward goes the same way as forward, not back: a matrix is used without .T, or a "
            "sum or shift runs in forward's direction"
        )
    if e.y.ndim >= 2 and e.y.shape[-1] == e.y.shape[-2]:
        turned = e.A.reshape(*e.y.shape, -1).swapaxes(e.y.ndim - 1, e.y.ndim - 2)
        if e.same(turned.reshape(e.J.shape), e.J):
            return "dy is used without .T"
    return ""


def _eps(e: Evidence) -> str:
    """Right for far larger arguments, where what is added to them does not count."""
    sizes = [[1e4 * a for a in e.subject.arrays], e.with_x(1e4 * e.x)]
    for arrays in sizes:
        numeric, analytic = e.numeric_at(arrays), e.analytic_at(arrays)
        one_has_none = e.same(_unit(analytic), _unit(e.A)) or e.same(_unit(numeric), _unit(e.J))
        if same(analytic, numeric, min(1e-6, 0.01 * relative(e.A, e.J))) and (
            one_has_none or relative(e.A, e.J) < 0.01
        ):
            return (
                "right for much larger arguments: a small number that is added (eps) is missing, "
                "or stands in another place than in forward"
            )
    return ""


def _unit(a: Array) -> Array:
    return a / np.linalg.norm(a)


def relative(a: Array, b: Array) -> float:
    """The largest difference, relative to the largest entry of b."""
    return float(np.abs(a - b).max(initial=0) / (np.abs(b).max(initial=0) or 1))


def _spread(error: Array, direction: Array, axes: tuple[int, ...], close: float) -> bool:
    """True if `error` (outputs, *shape) is, along `axes`, a multiple of `direction` (*shape)."""
    over = tuple(a + 1 for a in axes)
    square = (direction * direction).sum(axis=axes, keepdims=True)
    multiple = (error * direction).sum(axis=over, keepdims=True) / np.where(square, square, 1)
    return same(multiple * direction, error, close)


def _factor_per_output(e: Evidence) -> str:
    """Each output's derivatives are right up to a factor, as if y were not divided by its own."""
    axes = tuple(range(1, e.J.ndim))
    factor = (e.A * e.J).sum(axis=axes, keepdims=True) / (e.J * e.J).sum(axis=axes, keepdims=True)
    if (np.count_nonzero(e.J, axis=axes) < 2).all() or not e.same(e.A, factor * e.J):
        return ""
    for by, name in ((factor, "a division by y"), (1 / factor, "a factor y")):
        if same(by.ravel(), e.y.ravel()):
            return f"{name}, the result, is missing"
    return "the derivatives of each output are right up to a factor: one that differs by output"


def _row_statistics(e: Evidence) -> str:
    """A path through the mean, the variance or the length of a row (or column) is lost."""
    error = e.A - e.J
    for axes in _axis_sets(e.x.ndim):
        if int(np.prod([e.x.shape[a] for a in axes])) < 3:
            continue
        where = "row" if axes == (e.x.ndim - 1,) else f"slice along axis {axes}"
        centred = e.x - e.x.mean(axis=axes, keepdims=True)
        if _spread(error, np.ones_like(e.x), axes, e.close):
            return (
                f"right up to a constant per {where}: a term that subtracts a row's mean (softmax, "
                "layer norm) is missing"
            )
        if _spread(error, centred, axes, e.close):
            return (
                f"the path through the variance of a {where} is missing or wrong: x also moves the "
                "number it is divided by (the third term of layer norm)"
            )
        if _spread(error, e.x, axes, e.close):
            return (
                f"the path through the length (norm, mean square) of a {where} is missing or "
                "wrong: x also moves the number it is divided by"
            )
        rest = error - error.mean(axis=tuple(a + 1 for a in axes), keepdims=True)
        if _spread(rest, centred, axes, e.close) and e.x.size > 3:
            return (
                f"the paths through the mean and through the variance of a {where} are missing "
                "or wrong: x also moves both"
            )
        if e.y.shape == e.x.shape and _spread(error, e.y, axes, e.close):
            return "a term is missing or wrong: y times the sum over the row of dy * y (softmax)"
    return ""


def _axis_sets(ndim: int) -> Iterator[tuple[int, ...]]:
    for a in reversed(range(ndim)):
        yield (a,)
    if ndim > 1:
        yield tuple(range(ndim))


def _product_rule(e: Evidence) -> str:
    """If f = g(x) h(x) and g is linear, the slope along x of the term with g' is f itself."""
    sums = tuple(range(1, e.J.ndim))
    y = e.y.ravel()
    along, lost = (e.A * e.x).sum(axis=sums), ((e.J - e.A) * e.x).sum(axis=sums)
    if e.same(along, y) or e.same(lost, y):
        return (
            "product rule: x stands in two factors, and one of the two terms is missing (as is "
            "the quotient rule's, if x also divides)"
        )
    return ""


def _missing_factor(e: Evidence) -> str:
    """Right but for a factor that is one of the arrays at hand."""
    cases: list[tuple[str, Array]] = []
    if e.y.shape == e.x.shape:
        y = e.y.astype(np.float64)
        cases += [("y", y), ("(1 - y)", 1 - y), ("(1 + y)", 1 + y), ("(1 - y**2)", 1 - y * y)]
    for name, a in zip(e.subject.names, e.subject.arrays, strict=True):
        label = "x" if len(e.subject.names) == 1 else name
        try:
            a = np.broadcast_to(a, e.x.shape)
        except ValueError:
            continue
        cases += [(label, a), (f"(1 - {label})", 1 - a), (f"{label}**2", a * a)]
    for label, a in cases:
        if not e.x.ndim or np.ptp(a) == 0:
            continue
        if e.same(e.A * a, e.J):
            return f"a factor {label} is missing"
        if e.same(e.A, e.J * a):
            return f"a factor {label} is too much, or a division by it missing"
        for c in (0.5, 2, -1):
            if e.same(c * e.A * a, e.J):
                return f"a factor {c:g} {label} is missing"
    return ""


def _lost_outputs(e: Evidence) -> str:
    """Some outputs never reach x: a sum over them was forgotten, or overwritten."""
    tiny = e.close * np.abs(e.J).max(initial=0)
    lost = (np.abs(e.A) <= tiny) & (np.abs(e.J) > tiny)
    if not lost.any() or (np.abs(np.where(lost, 0, e.A - e.J)) > tiny).any():
        return ""
    reached = (np.abs(e.J) > tiny).sum(axis=0)  # how many outputs each entry of x reaches
    kept = reached - lost.sum(axis=0)
    if (np.abs(e.J) > tiny).reshape(len(e.J), -1).sum(axis=1).max(initial=0) == 1:
        if e.x.size < e.y.size and np.ptp(reached) == 0 and np.ptp(kept) == 0:
            return (
                "x was broadcast, and its gradient forgets the sum over the axis along which it "
                "was repeated: only a part of dy arrives"
            )
        if (reached[lost.any(axis=0)] > 1).all():
            return "repeated indices were assigned instead of added: use np.add.at"
    return ""


def _diagonal(e: Evidence) -> str:
    if e.y.shape != e.x.shape or e.x.size < 2:
        return ""
    own = np.eye(e.x.size).reshape(e.J.shape)
    if e.same(e.A, e.J * own):
        return (
            "only the slope of each output in its own input is there; each output also depends on "
            "the other inputs, so a sum over them is missing"
        )
    return ""


def _shifted(e: Evidence) -> str:
    for axis in range(1, e.J.ndim):
        for by in (-1, 1):
            if e.same(np.roll(e.A, by, axis), e.J):
                return f"the result is shifted by one along axis {axis - 1}"
    return ""


def _moved(e: Evidence) -> str:
    """The derivatives of each output are all there, at other entries of x."""
    got, want = (np.sort(a.reshape(len(a), -1), axis=1) for a in (e.A, e.J))
    if e.x.ndim > 1 and e.same(got, want):
        return (
            "the entries of dx stand in other places than those of x: does backward undo what "
            "forward did to the order (reshape, transpose, ids)?"
        )
    return ""


def _other_axis(e: Evidence) -> str:
    tiny = e.close * np.abs(e.J).max(initial=0)
    lost = (np.abs(e.A) <= tiny) & (np.abs(e.J) > tiny)
    if not lost.any():
        return ""
    return (
        f"{int(lost.sum())} of the {lost.size} derivatives of an output by an input are 0 and "
        "should not be: a term is missing, or a sum goes over another axis"
    )


GUESSES: tuple[Callable[[Evidence], str], ...] = (
    _nothing_expected,
    _of_sums(_not_finite, _zero, _sign, _transposed),
    _another_argument,
    _of_sums(_factor),
    _relu_reversed,
    _of_sums(_leak),
    _without_T,
    _saved_the_wrong_one,
    _eps,
    _missing_factor,
    _factor_per_output,
    _row_statistics,
    _diagonal,
    _product_rule,
    _lost_outputs,
    _shifted,
    _moved,
    _of_sums(_lost),
    _other_axis,
)
