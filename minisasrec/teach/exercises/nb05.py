"""Exercises of notebook 05: the mask of a padded batch, and the backward of attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.errors import GradientError
from minisasrec.ops.attention import attention_weights
from minisasrec.teach.exercises import Wrong, array, compare, exercise, untouched


@exercise(
    "causal_mask",
    notebook="05_self_attention",
    hints=(
        "np.tril(np.ones((n, n), dtype=bool)) is True where s <= t. Which slots s are to be cut "
        "off besides?",
        "real[:, None, :] has the shape (B, 1, n): it says of each slot s, for any t, if it is "
        "real. np.eye(n, dtype=bool) is True where s = t.",
        "return np.tril(np.ones((n, n), dtype=bool)) & (real[:, None, :] | np.eye(n, dtype=bool))",
    ),
)
def _(answer: Any) -> str:
    lengths = np.array([4, 1, 2, 0])
    n = 4
    real = np.arange(n) >= n - lengths[:, None]
    got = array(untouched(answer, real=real), "the mask", "b")
    if got.shape != (4, n, n):
        raise Wrong(f"for real of shape {real.shape} the mask has shape {got.shape}, not (4, 4, 4)")
    for b, t, s in np.ndindex(got.shape):
        want = s <= t and (real[b, s] or s == t)
        if bool(got[b, t, s]) == want:
            continue
        if want and s == t:
            why = "a slot sees itself, else a padded one has a softmax over nothing"
        elif want:
            why = f"slot {s} is real and earlier"
        else:
            why = "that is the future" if s > t else f"slot {s} is padding"
        raise Wrong(
            f"with real = {real[b].astype(int).tolist()} slot {t} {'may' if want else 'must not'} "
            f"look at slot {s} ({why}); your mask says {got[b, t, s]}"
        )
    return "for histories of 0 to 4 items in 4 slots each slot sees what it may and nothing else"


@exercise(
    "attention_backward",
    notebook="05_self_attention",
    hints=(
        "From out = p v: dp = dout @ v.T and dv = p.T @ dout.",
        "dz = p * (dp - (dp * p).sum(axis=-1, keepdims=True)), as in notebook 02. Then z = q k^T / "
        "sqrt(d) is a product again, where k enters transposed.",
        "dq = dz @ k / sqrt(d), dk = dz.T @ q / sqrt(d), d = q.shape[-1]; return dq, dk, dv",
    ),
)
def _(answer: Any) -> str:
    def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Any:
        p = attention_weights(q, k, np.tril(np.ones((len(q), len(k)), dtype=bool)))

        def backward(dout: np.ndarray) -> tuple[np.ndarray, ...]:
            gradients = untouched(answer, q=q, k=k, v=v, p=p, dout=dout)
            if not isinstance(gradients, tuple | list) or len(gradients) != 3:
                raise Wrong("return three gradients, dq, dk and dv")
            for name, gradient in zip(("dq", "dk", "dv"), gradients, strict=True):
                if np.shape(gradient) != q.shape:
                    raise Wrong(f"{name} has shape {np.shape(gradient)}, expected {q.shape}")
            return tuple(np.asarray(gradient) for gradient in gradients)

        return p @ v, backward

    rng = np.random.default_rng(0)
    for n, d in ((3, 2), (4, 3), (1, 2)):
        q, k, v = rng.normal(size=(3, n, d))
        dout = rng.normal(size=(n, d))
        p = attention_weights(q, k, np.tril(np.ones((n, n), dtype=bool)))
        attention(q, k, v)[1](dout)  # shapes first: what follows takes them for granted
        dq, dk, dv = answer(q, k, v, p, dout)
        compare(dv, p.T @ dout, f"dv for n = {n}, d = {d}", {"p enters transposed": p @ dout})
        dp = dout @ v.T
        along = (dp * p).sum(axis=-1, keepdims=True)
        dz, scale = p * (dp - along), 1 / np.sqrt(d)
        for name, got, one, other in (("dq", dq, dz, k), ("dk", dk, dz.T, q)):
            wrong_dz = {
                "the softmax between p and z is left out": dp,
                "of the softmax, the sum over the row is missing": p * dp,
                "of the softmax, p outside the bracket is missing": dp - along,
            }
            mistakes = {
                "the factor 1 / sqrt(d) is missing": one @ other,
                "z is divided by sqrt(d), not by d": one @ other / d,
                "times 1 / sqrt(d), once": one @ other * np.sqrt(d),
                "dz has to be transposed for dk, and not for dq": one.T @ other * scale,
                **{
                    why: (a.T if name == "dk" else a) @ other * scale for why, a in wrong_dz.items()
                },
            }
            if n > 1:  # with one slot there is nothing to tell apart
                compare(got, one @ other * scale, f"{name} for n = {n}, d = {d}", mistakes)
        try:
            gradcheck(attention, q, k, v)
        except GradientError as error:
            message = str(error)
            for i, name in enumerate(("dq", "dk", "dv")):
                message = message.replace(f"gradient of argument {i}", name)
            raise Wrong(message.replace("attention: ", "")) from None
    return "dq, dk and dv agree with finite differences, mask included"
