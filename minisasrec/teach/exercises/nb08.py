"""Exercises of notebook 08: shifted targets, the gradient of the loss, a step of Adam."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import ops
from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.teach.exercises import Wrong, equal, exercise


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
    for sequences, n in (
        ([[7, 3, 9, 4]], 6),
        ([[5, 2]], 3),
        ([[1, 2, 3, 4]], 3),
        ([[1, 2, 3, 4, 5, 6]], 3),
        ([[3, 1], [8, 6, 4, 2, 9, 7], [5, 9, 5]], 4),
    ):
        got = answer([list(s) for s in sequences], n)
        if not isinstance(got, tuple) or len(got) != 2:
            raise Wrong("return two arrays: inputs, targets")
        inputs, targets = np.zeros((2, len(sequences), n), dtype=int)
        for b, sequence in enumerate(sequences):
            kept = sequence[-n - 1 :]
            inputs[b, n + 1 - len(kept) :] = kept[:-1]
            targets[b, n + 1 - len(kept) :] = kept[1:]
        got_inputs, got_targets = map(np.asarray, got)
        if got_targets.shape == targets.shape and (got_targets == got_inputs).all():
            raise Wrong("targets equal inputs: the model would only have to copy; shift by one")
        for name, array, want in (
            ("inputs", got_inputs, inputs),
            ("targets", got_targets, targets),
        ):
            if array.shape == want.shape and (array != want).any():
                b = int(np.flatnonzero((array != want).any(axis=1))[0])
                raise Wrong(
                    f"for history {sequences[b]} and n = {n}, {name} should be "
                    f"{want[b].tolist()}, yours are {array[b].tolist()}"
                )
            equal(array, want, f"{name} for {len(sequences)} histories and n = {n}")
    return "short, long and exactly fitting histories: each position has the item that came next"


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
                got = answer(F.copy(), N.copy(), targets.copy(), negatives.copy())
                if not isinstance(got, tuple) or len(got) != 2:
                    raise Wrong("return two arrays: dF, dN")
                for name, array, like in (("dF", got[0], F), ("dN", got[1], N)):
                    if np.shape(array) != like.shape:
                        raise Wrong(f"{name} has shape {np.shape(array)}, expected {like.shape}")
                return tuple(dloss * np.asarray(array) for array in got)

            return value, backward

        op.__name__ = f"loss(F, N) with targets {targets.tolist()}, negatives {negatives.tolist()}"
        return op

    rng = np.random.default_rng(0)
    for targets, negatives in (([2], [1]), ([4, 0, 1], [2, 5, 4]), ([3, 3, 0, 5], [1, 1, 2, 3])):
        op = loss(np.array(targets), np.array(negatives))
        gradcheck(op, rng.normal(size=(len(targets), 3)), rng.normal(size=(6, 3)))
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
    for lr, beta1, beta2, eps in ((0.001, 0.9, 0.98, 1e-8), (0.1, 0.5, 0.9, 0.01)):
        settings = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
        w = rng.normal(size=(2, 3))
        m, v = np.zeros((2, 2, 3))
        for t in range(1, 5):
            g = rng.normal(size=w.shape) * 10.0 ** rng.integers(-3, 3, w.shape)
            got = answer(w.copy(), g.copy(), m.copy(), v.copy(), t, **settings)
            if not isinstance(got, tuple) or len(got) != 3:
                raise Wrong("return three arrays: w, m, v")
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
            m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
            new = w - lr * m_hat / (np.sqrt(v_hat) + eps)
            step = f"of step {t} with lr {lr}, beta1 {beta1}, beta2 {beta2}, eps {eps:g}"
            for name, array, want, hat in (("m", got[1], m, m_hat), ("v", got[2], v, v_hat)):
                if np.shape(array) == want.shape and np.allclose(array, hat, rtol=1e-9, atol=0):
                    raise Wrong(f"you return {name} hat; return {name}, the hat is for this step")
                equal(array, want, f"{name} {step}", rtol=1e-9, atol=0)
            stories = {
                "the bias correction is missing": w - lr * m / (np.sqrt(v) + eps),
                "w went up the gradient": w + lr * m_hat / (np.sqrt(v_hat) + eps),
                "eps belongs outside the root": w - lr * m_hat / np.sqrt(v_hat + eps),
                "divide by the root of v hat, not by v hat": w - lr * m_hat / (v_hat + eps),
            }
            if np.shape(got[0]) == new.shape and not np.allclose(got[0], new, rtol=1e-9, atol=0):
                for story, value in stories.items():
                    if np.allclose(got[0], value, rtol=1e-9, atol=0):
                        raise Wrong(f"w {step} is wrong: {story}")
            equal(got[0], new, f"w {step}", rtol=1e-9, atol=0)
            w = new
    return "four steps with two sets of settings, gradients from 0.001 to 100: Adam to rounding"
