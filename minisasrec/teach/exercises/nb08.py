"""Exercises of notebook 08: shifted targets, the gradient of the loss, a step of Adam."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from minisasrec import ops
from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.ops.elementwise import stable_sigmoid
from minisasrec.teach.exercises import (
    Wrong,
    array,
    compare,
    equal,
    exercise,
    fresh,
    pair,
    untouched,
)


@exercise(
    "shifted_targets",
    notebook="08_training",
    hints=(
        "Start with two arrays of zeros, np.zeros((B, n), dtype=int), and fill a row at a time.",
        "Of a sequence S take S = S[-(n + 1):] first. Input S[:-1], target S[1:], both len(S) - 1.",
        "inputs[b, n - len(S) + 1:] = S[:-1]; targets[b, n - len(S) + 1:] = S[1:]",
    ),
)
def _(answer: Any) -> str:
    rng = fresh()
    drawn = [(rng.permutation(99)[:length] + 1).tolist() for length in (2, 5, 6, 9)]
    for sequences, n in (
        ([[7, 3, 9, 4]], 6),
        ([[5, 2]], 3),
        ([[1, 2, 3, 4]], 3),
        ([[1, 2, 3, 4, 5, 6]], 3),
        ([[3, 1], [8, 6, 4, 2, 9, 7], [5, 9, 5]], 4),
        (drawn, 5),
    ):
        got = untouched(answer, sequences=[list(s) for s in sequences], n=n)
        got = pair(got, "two arrays: inputs, targets")
        inputs, targets = np.zeros((2, len(sequences), n), dtype=int)
        for b, sequence in enumerate(sequences):
            kept = sequence[-n - 1 :]
            inputs[b, n + 1 - len(kept) :] = kept[:-1]
            targets[b, n + 1 - len(kept) :] = kept[1:]
        got_inputs, got_targets = array(got[0], "inputs", "iu"), array(got[1], "targets", "iu")
        if _same(got_inputs, targets) and _same(got_targets, inputs):
            raise Wrong("inputs and targets are swapped; return inputs, targets")
        if _same(got_inputs, targets) and _same(got_targets, targets):
            raise Wrong(
                "you return the targets twice; a = b = np.zeros(...) makes one array with two names"
            )
        if _same(got_targets, got_inputs):
            raise Wrong("targets equal inputs: the model would only have to copy; shift by one")
        for name, found, want in (
            ("inputs", got_inputs, inputs),
            ("targets", got_targets, targets),
        ):
            if found.shape == want.shape and (found != want).any():
                b = int(np.flatnonzero((found != want).any(axis=1))[0])
                raise Wrong(
                    f"for history {sequences[b]} and n = {n}, {name} should be "
                    f"{want[b].tolist()}, yours are {found[b].tolist()}"
                )
            equal(found, want, f"{name} for {len(sequences)} histories and n = {n}")
    return "short, long and exactly fitting histories: each position has the item that came next"


def _same(got: np.ndarray, want: np.ndarray) -> bool:
    return got.shape == want.shape and bool((got == want).all())


@exercise(
    "bce_backward",
    notebook="08_training",
    hints=(
        "For one position with target o and negative j the slopes are a = (sigmoid(F_t . N_o) - 1)"
        " / count and b = sigmoid(F_t . N_j) / count, count being the number of targets not 0.",
        "dF_t = a N_o + b N_j. The item rows get a F_t and b F_t.",
        "An item may occur at several positions: dN[o] += a * F[t]; dN[j] += b * F[t]",
    ),
)
def _(answer: Any) -> str:
    def loss(targets: np.ndarray, negatives: np.ndarray) -> Any:
        def op(F: np.ndarray, N: np.ndarray) -> Any:
            value, _ = ops.sampled_bce.definition(
                F, N, targets=targets, negatives=negatives[:, None]
            )

            def backward(dloss: np.ndarray) -> tuple[np.ndarray, ...]:
                got = untouched(answer, F=F, N=N, targets=targets, negatives=negatives)
                got = pair(got, "two arrays: dF, dN")
                for name, gradient, like in (("dF", got[0], F), ("dN", got[1], N)):
                    if array(gradient, name).shape != like.shape:
                        raise Wrong(f"{name} has shape {np.shape(gradient)}, expected {like.shape}")
                    if np.abs(F @ N.T).max() > 700 and not np.isfinite(gradient).all():
                        raise Wrong(
                            f"{name} holds NaN with scores of 800, where e^x is too large for a "
                            "computer; stable_sigmoid takes any score"
                        )
                _explain_bce(*got, F, N, targets, negatives)
                return tuple(dloss * np.asarray(gradient) for gradient in got)

            return value, backward

        op.__name__ = f"loss(F, N) with targets {targets.tolist()}, negatives {negatives.tolist()}"
        return op

    rng = np.random.default_rng(0)
    for targets, negatives in (([2], [1]), ([4, 0, 1], [2, 5, 4]), ([3, 3, 0, 5], [1, 1, 2, 3])):
        op = loss(np.array(targets), np.array(negatives))
        gradcheck(op, rng.normal(size=(len(targets), 3)), rng.normal(size=(6, 3)))
    F, N = (
        np.array([[40.0, 0], [0, 40]]),
        np.array([[0.0, 0], [20, 0], [0, -20], [-20, 0], [0, 20]]),
    )
    with np.errstate(all="ignore"):
        loss(np.array([1, 2]), np.array([3, 4]))(F, N)[1](np.ones(()))
    return "dF and dN agree with finite differences, with missing targets and repeated items"


@exercise(
    "adam_step",
    notebook="08_training",
    hints=(
        "Five lines, in the order of the formulas: m, v, m_hat, v_hat, w.",
        "The hats are for this step's quotient only; what you return is m and v without them.",
        "w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    for first, lr, beta1, beta2, eps in (
        (2, 0.1, 0.3, 0.4, 0.01),  # first a step that tells the mistakes apart
        (1, 0.1, 0.6, 0.9, 0.01),
        (1, 0.001, 0.9, 0.98, 1e-8),
    ):
        settings = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
        w = rng.normal(size=(2, 3))
        m, v = (first > 1) * rng.normal(size=(2, 2, 3)) ** [[[1]], [[2]]]
        for t in range(first, 5):
            g = rng.normal(size=w.shape) * 10.0 ** rng.integers(-3, 3, w.shape)
            got = untouched(functools.partial(_with, answer, settings), w=w, g=g, m=m, v=v, t=t)
            if not isinstance(got, tuple | list) or len(got) != 3:
                raise Wrong("return three arrays: w, m, v")
            old_m, old_v = m, v
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
            m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
            new = w - lr * m_hat / (np.sqrt(v_hat) + eps)
            step = f"of step {t} with lr {lr}, beta1 {beta1}, beta2 {beta2}, eps {eps:g}"
            mistakes_m = {
                "you return m hat; return m, the hat is for this step": m_hat,
                "beta1 and 1 - beta1 are swapped": (1 - beta1) * old_m + beta1 * g,
                "g has the factor 1 - beta1": beta1 * old_m + g,
            }
            mistakes_v = {
                "you return v hat; return v, the hat is for this step": v_hat,
                "beta2 and 1 - beta2 are swapped": (1 - beta2) * old_v + beta2 * g * g,
                "g squared has the factor 1 - beta2": beta2 * old_v + g * g,
                "the old v has the factor beta2, g squared 1 - beta2": old_v + g * g,
                "v averages g squared": beta2 * old_v + (1 - beta2) * g,
            }
            compare(got[1], m, f"m {step}", mistakes_m, rtol=1e-9, atol=0)
            compare(got[2], v, f"v {step}", mistakes_v, rtol=1e-9, atol=0)
            m_times, v_times = m / (1 - beta1 * t), v / (1 - beta2 * t)
            stories = {
                "the bias correction is missing": w - lr * m / (np.sqrt(v) + eps),
                "m is not corrected; it takes both hats": w - lr * m / (np.sqrt(v_hat) + eps),
                "v is not corrected; it takes both hats": w - lr * m_hat / (np.sqrt(v) + eps),
                "the correction has beta to the power of t, not times t": w
                - lr * m_times / (np.sqrt(np.abs(v_times)) + eps),
                "eps is added to the root of v hat, after the correction": w
                - lr * m_hat * np.sqrt(1 - beta2**t) / (np.sqrt(v) + eps),
                "w went up the gradient": w + lr * m_hat / (np.sqrt(v_hat) + eps),
                "eps belongs outside the root": w - lr * m_hat / np.sqrt(v_hat + eps),
                "divide by the root of v hat, not by v hat": w - lr * m_hat / (v_hat + eps),
            }
            compare(got[0], new, f"w {step}", stories, rtol=1e-9, atol=0)
            w = new
    return "steps 1 to 4 with several settings, gradients from 0.001 to 100: Adam to rounding"


def _with(answer: Any, settings: dict[str, float], *args: Any) -> Any:
    return answer(*args, **settings)


def _explain_bce(
    dF: Any, dN: Any, F: np.ndarray, N: np.ndarray, targets: np.ndarray, negatives: np.ndarray
) -> None:
    real, count = targets != 0, np.count_nonzero(targets)
    positive = stable_sigmoid((F * N[targets]).sum(axis=1))
    negative = stable_sigmoid((F * N[negatives]).sum(axis=1))

    def gradients(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = np.zeros_like(N)
        np.add.at(found, targets, a[:, None] * F)
        np.add.at(found, negatives, b[:, None] * F)
        return a[:, None] * N[targets] + b[:, None] * N[negatives], found

    a, b = real * (positive - 1) / count, real * negative / count
    last = np.zeros_like(N)
    for t in np.flatnonzero(real):
        last[targets[t]] = a[t] * F[t]
        last[negatives[t]] = b[t] * F[t]
    T = len(targets)
    wrong = {
        "positions without a target count, too": ((positive - 1) / T, negative / T),
        "the loss is a mean over the targets; here is the sum": (a * count, b * count),
        "divide by the number of targets, not of positions": (a * count / T, b * count / T),
        "the term of the negatives is missing": (a, 0 * b),
        "the term of the targets is missing": (0 * a, b),
        "the sign": (-a, -b),
        "the slope of -log sigmoid is sigmoid - 1": (real * positive / count, b),
        "the negatives' slope is sigmoid, not sigmoid - 1": (a, real * (negative - 1) / count),
        "the sign of the targets' term": (-a, b),
        "the sign of the negatives' term": (a, -b),
        "without a target a position's negative counts no more": (a, negative / count),
    }
    want = gradients(a, b)
    told = {why: gradients(*parts) for why, parts in wrong.items()}
    compare(dF, want[0], "dF", {why: value[0] for why, value in told.items()})
    repeated = {"an item that occurs at several positions gets the sum; add with +=": last}
    compare(dN, want[1], "dN", {why: value[1] for why, value in told.items()} | repeated)
