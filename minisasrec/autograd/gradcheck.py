"""Gradient checking: is an op's backward the derivative of its forward?

The idea. Backward is linear in dy: dx_j = sum_o dy_o J_oj, where J_oj is the slope of y_o in x_j.
So a call of backward with a dy that is 0 except at o returns row o of J, times dy_o. Central
differences give J without any backward: (y(x_j + h) - y(x_j - h)) / 2h. Every entry must agree, in
float64, when dy_o is a random number (a random cotangent).

Why random? With `loss = y.sum()` every dy_o is 1, and then a wrong softmax or layer norm looks
right: softmax rows sum to 1 whatever x is, so the true gradient of that loss is 0, and a backward
that returns 0 passes. Why every entry? One number per check, such as the slope in a random
direction, can miss an error in one entry of a thousand.

Where the two disagree, `differences` looks again before anything is called wrong: there may be a
kink, or coarse rounding. Then `diagnosis` tries the usual mistakes and names the one that fits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minisasrec.autograd.diagnosis import Evidence, diagnose_evidence, not_linear
from minisasrec.autograd.differences import as_column, differs, one_sided
from minisasrec.autograd.subject import Subject
from minisasrec.autograd.verdict import MANY, Judge
from minisasrec.errors import ConfigError, GradientError

Array = np.ndarray


def by_backward(subject: Subject, cotangent: Array) -> list[Array]:
    """Each argument's Jacobian, (outputs, *shape): row o is dx if dy is 0 except at output o."""
    rows = []
    for o in np.ndindex(cotangent.shape):
        dy = np.zeros_like(cotangent)
        dy[o] = cotangent[o]
        rows.append(subject.gradients(dy))
    return [
        np.array([row[i] for row in rows]).reshape(cotangent.size, *x.shape)
        for i, x in enumerate(subject.arrays)
    ]


def by_differences(subject: Subject, cotangent: Array, step: float) -> list[tuple[Array, Array]]:
    """The same by finite differences, to the left and to the right of x; central is their mean."""
    jacobians = []
    for i, x in enumerate(subject.arrays):
        left, right = one_sided(subject.value, subject.arrays, i, step)
        dy = as_column(cotangent, x)
        jacobians.append((left * dy, right * dy))
    return jacobians


def numeric_jacobian(
    f: Callable[..., Array], args: Sequence[Array], i: int, step: float = 1e-5
) -> Array:
    """dy/dx for x = args[i] by central differences; shape (outputs, *x.shape)."""
    left, right = one_sided(f, args, i, step)
    return (left + right) / 2


def gradcheck(
    function: Callable[..., Any],
    *args: Any,
    seed: int = 0,
    step: float = 1e-5,
    rtol: float = 1e-6,
    atol: float = 0.0,
    **constants: Any,
) -> None:
    """Check every entry of the Jacobian of `function` at `args`; silent when all is well.

    `function` is one of these:

    - an `Op`: the implementation of the current backend is checked;
    - a function of arrays that returns `(y, backward)`;
    - a function of Tensors that returns a Tensor, `gradcheck(lambda x: (x * x).sum(), a)`: it gets
      Tensors and is checked through the engine;
    - a `Module`: its parameters are checked as well as its arguments, in float64.

    `args` are float arrays and are taken as float64; `constants` are handed on by keyword.

    An entry is right if backward and differences agree to `rtol` times its size, plus `atol`, plus
    the error that the differences themselves may have (rounding of y, divided by the step). A
    function that computes in float32 is held to 3e-4.
    Where the function has a kink (ReLU at 0, tied maxima), any number between the slopes on both
    sides is right, and a warning says so.

    Backward is called once per output, twice with the same dy, and with a multiple of it. Between
    its calls, forward is called at other numbers, and with all arrays laid out in another way.

    Raises `GradientError`, in one line: the worst entry and the likely mistake, or why the
    function cannot be checked.
    """
    mismatches = find_mismatches(
        function, *args, seed=seed, step=step, rtol=rtol, atol=atol, **constants
    )
    if mismatches:
        raise GradientError("; ".join(str(m) for m in mismatches))


@dataclass(frozen=True)
class Mismatch:
    """One argument whose gradient is wrong: both values of dx, and the likely mistake."""

    op: str
    argument: str
    analytic: Array
    numeric: Array
    diagnosis: str

    def __str__(self) -> str:
        error = np.abs(self.analytic - self.numeric)
        error = np.where(np.isnan(error), np.inf, error)  # nothing is further off than NaN
        at = tuple(int(i) for i in np.unravel_index(np.argmax(error), error.shape))
        return (
            f"{self.op}: gradient of {self.argument} {self.numeric.shape} is wrong at {at}: "
            f"backward says {self.analytic[at]:.6g}, finite differences say "
            f"{self.numeric[at]:.6g}. Likely: {self.diagnosis}"
        )


def find_mismatches(
    function: Callable[..., Any],
    *args: Any,
    seed: int = 0,
    step: float = 1e-5,
    rtol: float = 1e-6,
    atol: float = 0.0,
    **constants: Any,
) -> list[Mismatch]:
    """Like `gradcheck`, but returns what is wrong (an empty list when nothing is)."""
    if not (0 < step < np.inf and rtol >= 0 and atol >= 0):
        raise ConfigError(
            f"gradcheck: step is {step}, rtol {rtol}, atol {atol}; the step must be above 0, the "
            "tolerances 0 or more"
        )
    subject = Subject(function, args, constants)
    y = subject.forward()
    rng = np.random.default_rng(seed)
    cotangent = rng.uniform(0.5, 2.0, y.shape) * rng.choice([-1.0, 1.0], y.shape)
    whole = subject.check_calls(y, cotangent)
    analytic = by_backward(subject, cotangent)
    sides = by_differences(subject, cotangent, step)
    judge = Judge(subject, y, cotangent, analytic, sides, step, rtol, atol)
    wrong = judge.wrong()
    for note in judge.notes:
        warnings.warn(f"gradcheck: {subject.name}: {note}", stacklevel=3)

    mismatches = []
    scaled = subject.elsewhere(MANY * cotangent)
    for i, name in enumerate(subject.names):
        numeric = judge.numeric[i]
        want = numeric.sum(axis=0)
        nonlinear = not judge.linear(whole[i], scaled[i], i)
        if not (wrong[i].any() or nonlinear):
            continue
        got = whole[i]
        if wrong[i].any() and not differs(got, want, judge.tolerance[i].sum(axis=0)):
            worst = np.argmax(np.where(wrong[i], np.abs(analytic[i] - numeric), 0))
            o = np.unravel_index(worst, numeric.shape)[0]  # right in sum, wrong in one row
            got, want = analytic[i][o], numeric[o]
        evidence = Evidence(subject, i, y, cotangent, whole[i], analytic, judge.numeric, judge.unit)
        diagnosis = (
            not_linear(evidence, scaled[i], MANY) if nonlinear else diagnose_evidence(evidence)
        )
        mismatches.append(Mismatch(subject.name, name, got, want, diagnosis))
    return mismatches
