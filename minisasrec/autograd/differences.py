"""Finite differences: a quick look with one step, and a second look with many.

The quick look moves each x_j by a small h to either side. It is exact to about 1e-10 where f is
smooth and of usual size, and that settles nearly every entry of nearly every check.

The second look is for the entries where backward and the quick look differ. Two errors rule a
finite difference: the curvature that a large h skips, and the rounding of y, which a small h
magnifies (noise / h). So it takes steps over many sizes, extrapolates each to h = 0 (Richardson),
and keeps the one whose error is smallest. It does so for both sides apart: where slopes to the
left and to the right differ, f has a kink, and any number between them is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Function = Callable[..., Array]

SHRINK = 4.0  # each step of the second look is this much smaller than the one before


def size_of(x: Array) -> float:
    """The largest |x|, or 1 if there is none."""
    return float(np.abs(x).max(initial=0)) or 1.0


def as_column(weights: Array, x: Array) -> Array:
    """One weight per output, to be multiplied with a Jacobian of shape (outputs, *x.shape)."""
    return weights.reshape(-1, *[1] * x.ndim)


def differs(a: Array, b: Array, tolerance: Array | float) -> bool:
    """True if any entry is further apart than `tolerance`, or NaN."""
    with np.errstate(invalid="ignore"):
        return not bool(((np.abs(a - b) <= tolerance) | (a == b)).all())  # infinity is infinity


def steps_of(x: Array, step: float) -> Array:
    """How far the quick look moves each x_j: by `step` times |x_j|, but no less than times 1.

    If the largest |x| is below 1, it stands in for the 1.
    """
    return step * np.maximum(np.abs(x), min(1.0, size_of(x)))


def reach_of(y: Array, jacobians: Sequence[Array], args: Sequence[Array]) -> Array:
    """How large the numbers are that make up each output: |y_o| and all |dy_o/dx_j| |x_j|.

    Without `jacobians`, it is |y_o| alone.
    """
    reach = np.abs(np.nan_to_num(y.astype(np.float64), posinf=0, neginf=0)).ravel()
    for jacobian, a in zip(jacobians, args, strict=False):
        parts = np.abs(np.nan_to_num(jacobian, posinf=0, neginf=0)) * np.abs(a)
        reach = reach + parts.sum(axis=tuple(range(1, parts.ndim)))
    return reach


def one_sided(f: Function, args: Sequence[Array], i: int, step: float) -> tuple[Array, Array]:
    """dy/dx for x = args[i], to the left and to the right of x; shapes (outputs, *x.shape)."""
    y = np.asarray(f(*args)).astype(np.float64).ravel()
    x = np.asarray(args[i])
    left, right = np.empty((2, x.size, y.size))
    steps = steps_of(x, step)
    moved = [np.array(a) for a in args]
    with np.errstate(all="ignore"):
        for row, j in enumerate(np.ndindex(x.shape)):
            h = steps[j]
            moved[i][j] = x[j] + h
            right[row] = (value(f, moved, y) - y) / float(moved[i][j] - x[j])
            moved[i][j] = x[j] - h
            left[row] = (y - value(f, moved, y)) / float(x[j] - moved[i][j])
            moved[i][j] = x[j]
    shape = (y.size, *x.shape)
    return left.T.reshape(shape), right.T.reshape(shape)


def value(f: Function, args: Sequence[Array], y: Array) -> Array:
    """f(*args) in float64 and in one row; NaN where f is not defined."""
    try:
        return np.asarray(f(*args)).astype(np.float64).ravel()
    except (ValueError, ArithmeticError):
        return np.full(y.shape, np.nan)


@dataclass
class Slopes:
    """What differences say about the slope of each output along one direction."""

    low: Array  # the derivative, or at a kink the smaller of the slopes on both sides
    high: Array
    error: Array  # how far off these may be
    kink: Array  # bool: the slopes on both sides differ


def second_look(
    f: Function, args: Sequence[Array], direction: Sequence[Array], noise: Array, start: float
) -> Slopes:
    """The slopes of f at `args` along `direction` (as large as `args`), by steps of many sizes.

    `noise` is the rounding error of each output, `start` the size of the moved numbers.
    """
    y = np.asarray(f(*args)).astype(np.float64).ravel()
    largest = 0.1 * max(start, min(1.0, max(map(size_of, args))))
    sizes = np.log(largest) - np.log(start) - np.log(1e-12)  # of the largest over the smallest
    count = max(12, int(np.ceil(sizes / np.log(SHRINK))))
    steps = largest / SHRINK ** np.arange(count)

    def at(far: float) -> Array:
        return value(f, [a + far * v for a, v in zip(args, direction, strict=True)], y)

    with np.errstate(all="ignore"):
        up, down = np.array([at(far) for far in steps]), np.array([at(-far) for far in steps])
        h = steps[:, None]
        rounding = 4 * noise / h
        central, central_error = _extrapolate((up - down) / (2 * h), SHRINK**2, rounding)
        gap = h[:-1] - h[1:]  # between two points of one side: a jump at x itself does not matter
        rounding = 4 * noise / gap
        right, right_error = _extrapolate((up[:-1] - up[1:]) / gap, SHRINK, rounding)
        left, left_error = _extrapolate((down[1:] - down[:-1]) / gap, SHRINK, rounding)
    right = np.where(np.isfinite(right_error), right, left)  # f may end at x, as sqrt does at 0
    left = np.where(np.isfinite(left_error), left, right)
    sided_error = np.where(np.isfinite(right_error), right_error, 0)
    sided_error = np.maximum(sided_error, np.where(np.isfinite(left_error), left_error, 0))
    sided_error[~np.isfinite(right_error) & ~np.isfinite(left_error)] = np.inf
    size = np.maximum(np.abs(left), np.abs(right))
    kink = np.abs(right - left) > 4 * sided_error + 1e-4 * size
    smooth = ~kink & (central_error <= sided_error)
    return Slopes(
        np.where(smooth, central, np.minimum(left, right)),
        np.where(smooth, central, np.maximum(left, right)),
        np.where(smooth, central_error, sided_error),
        kink,
    )


def _extrapolate(slopes: Array, order: float, rounding: Array) -> tuple[Array, Array]:
    """The best limit of `slopes` as the step shrinks, and how far off it may be.

    The error of a limit is its distance from the next one, and how far the limits of all smaller
    steps are from it beyond what rounding explains: there the larger step has gone past a bend.
    """
    limits = slopes[1:] + (slopes[1:] - slopes[:-1]) / (order - 1)
    rounding = rounding[-len(limits) :]
    error = np.full(limits.shape, np.inf)
    for k in range(len(limits) - 1):
        apart = np.abs(limits[k] - limits[k + 1 :])
        unexplained = np.fmax.reduce(np.maximum(apart - rounding[k + 1 :] - rounding[k], 0), axis=0)
        error[k] = apart[0] + unexplained + rounding[k]
    error[~np.isfinite(error)] = np.inf
    best = error.argmin(axis=0)
    every = np.arange(slopes.shape[1])
    return limits[best, every], error[best, every]


def noise_of(f: Function, args: Sequence[Array], jacobians: Sequence[Array]) -> tuple[Array, float]:
    """(the rounding error of each output, that of one operation of f relative to its result).

    It is at least that of y and of x as stored. What f loses inside, as in (x + 1e8) - 1e8, is
    measured along lines so short that f is straight: there, fourth differences are rounding alone.
    """
    result = np.asarray(f(*args))
    y = result.astype(np.float64).ravel()
    rng = np.random.default_rng(0)
    lines = [rng.uniform(0.5, 1, a.shape) * np.abs(a) for a in args]

    def along(spacing: float) -> Array:
        with np.errstate(all="ignore"):
            return np.array(
                [
                    value(f, [a + t * spacing * v for a, v in zip(args, lines, strict=True)], y)
                    for t in range(1, 10)  # not across x: there may be a kink
                ]
            )

    unit = float(np.finfo(np.float64).eps)
    spacings = [1e-14, 1e-12, 1e-9, 3.7e-8, 1e-7]  # several: rounding may go in wide steps
    wider = along(1e-6)
    still = (np.diff(wider, axis=0) == 0).any(axis=0)  # between the steps of float16, say
    if result.dtype == np.float32 or (np.ptp(wider, axis=0).any() and same_in_float32(wider)):
        unit, spacings = float(np.finfo(np.float32).eps), [1e-6]
        jacobians = []  # the quick look's step was too fine; the measure has to do
    if still.any():
        spacings += [1e-5, 1e-4, 3.7e-4, 1e-3, 1e-2]
    noise = unit * reach_of(y, jacobians, args)
    with np.errstate(all="ignore"):
        for spacing in spacings:
            points = along(spacing)
            moves = np.count_nonzero(np.diff(points, axis=0), axis=0)
            fourth = np.abs(np.diff(points, 4, axis=0)).max(axis=0) / np.sqrt(70)
            size = size_of(np.nan_to_num(points, posinf=0, neginf=0))
            counts = fourth <= 0.01 * size  # more: no rounding but a wave, as of sin at 1e8
            if spacing > 1e-6:
                counts &= still & (moves > 2)  # fewer: a jump, like that of floor
            noise = np.where(counts, np.fmax(noise, 2 * fourth), noise)
    return noise, unit


def same_in_float32(values: Array) -> bool:
    """True if float32 can hold all of these: then they were computed in it."""
    with np.errstate(all="ignore"):
        return np.array_equal(values, values.astype(np.float32), equal_nan=True)
