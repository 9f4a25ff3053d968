"""Exercises of notebook 05: the mask of a padded batch, attention, and its backward."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.errors import GradientError
from minisasrec.ops.attention import attention_weights
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
    drawn = (8, fresh().integers(0, 9, 12).tolist())
    for n, lengths in ((4, [4, 1, 2, 0]), (3, [2, 3]), (5, [3]), drawn):
        _mask_as_defined(answer, np.arange(n) >= n - np.array(lengths)[:, None])
    return "for histories of 0 to 8 items in 3 to 8 slots each slot sees what it may, nothing else"


def _mask_as_defined(answer: Any, real: np.ndarray) -> None:
    B, n = real.shape
    got = array(untouched(answer, real=real), "the mask", "b")
    if got.shape != (B, n, n):
        raise Wrong(
            f"for real of shape {real.shape} the mask has shape {got.shape}, not {(B, n, n)}"
        )
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


@exercise(
    "attention",
    notebook="05_self_attention",
    hints=(
        "z = q @ k.T / np.sqrt(q.shape[-1]) has all scores. The mask works on z, before the "
        "softmax: np.where(allowed, z, -np.inf).",
        "Softmax of each row: take away the row's largest number, then e = np.exp(z), then e over "
        "its sum; max and sum with axis=-1, keepdims=True.",
        "p = e / e.sum(axis=-1, keepdims=True); return p @ v, p",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    for n, d, padded in ((4, 3, 0), (3, 5, 0), (1, 3, 0), (4, 3, 2)):
        q, k, v = rng.normal(size=(3, n, d))
        allowed = np.tril(np.ones((n, n), dtype=bool))
        allowed &= (np.arange(n) >= padded) | np.eye(n, dtype=bool)
        given = f"for n = {n}, d = {d}"
        given += f" with the first {padded} slots padding" if padded else ""
        p, out = _weights(answer, q, k, v, allowed, f"{given} p holds NaN or infinity")
        compare(p, attention_weights(q, k, allowed), f"p {given}", _wrong_p(q, k, allowed))
        compare(out, p @ v, f"out {given}", {"p enters transposed": p.T @ v})
    allowed = np.tril(np.ones((4, 4), dtype=bool))
    for given, rows, columns, why in LARGE:
        q, k, v = rng.normal(size=(3, 4, 2))
        q[:, 0], k[:, 0] = rows, columns
        p, out = _weights(answer, q, k, v, allowed, f"for {given} p holds NaN: {why}")
        if p.shape == (4, 4) and p[~allowed].any():
            raise Wrong(
                f"for {given} p is not 0 where a row may not look: the masked scores must be -inf, "
                "which no score comes near"
            )
        equal(p, attention_weights(q, k, allowed), f"p for {given}")
        equal(out, p @ v, f"out for {given}")
    return "weights and output as by the formula; none of the future, none overflows"


LARGE = (  # large scores, by the first numbers of q's rows and of k's; what makes NaN of them
    (
        "scores of about 1,000",
        40,
        40,
        "e^z overflows; take the largest number of the row away from z first",
    ),
    (
        "scores of about -1,000 in row 0, 1,000 in the others",
        (-40, 40, 40, 40),
        40,
        "take away from each row its own largest number",
    ),
    (
        "a masked score that is larger than the rest of its row by 1,000",
        40,
        (0, 0, 0, 40),
        "mask z first; of what is left in a row take the largest number away, then e^z",
    ),
    ("scores of about -10 million", -4000, 4000, "z may be as large as that"),
)


def _weights(
    answer: Any, q: np.ndarray, k: np.ndarray, v: np.ndarray, allowed: np.ndarray, no_number: str
) -> tuple[np.ndarray, np.ndarray]:
    """p and out of an answer; `Wrong` says `no_number` where p is not finite."""
    with np.errstate(all="ignore"):
        result = untouched(answer, q=q, k=k, v=v, allowed=allowed)
    out, p = pair(result, "two arrays: out, p")
    p, out = array(p, "p"), array(out, "out")
    if p.shape == allowed.shape and not np.isfinite(p).all():
        raise Wrong(no_number)
    return p, out


def _wrong_p(q: np.ndarray, k: np.ndarray, allowed: np.ndarray) -> dict[str, np.ndarray]:
    n, d = q.shape
    root = np.sqrt(d)
    p = attention_weights(q, k, np.ones_like(allowed))
    e = np.exp(np.where(allowed, q @ k.T / root, -np.inf))
    return {
        "the mask is missing": p,
        "the mask comes before the softmax; zeros after it leave the future in the sum": p
        * allowed,
        "the masked scores are 0, and e^0 = 1; they must be -inf": _softmax(
            np.where(allowed, q @ k.T / root, 0)
        ),
        "the scores are not divided by sqrt(d)": attention_weights(q * root, k, allowed),
        "the scores are divided by sqrt(d), not by d": attention_weights(q / root, k, allowed),
        "the scores are divided by sqrt(d), not by sqrt(n)": attention_weights(
            q * root / np.sqrt(n), k, allowed
        ),
        "the softmax is over each row (axis=-1)": e / e.sum(axis=0),
        "q and k are swapped": attention_weights(k, q, allowed),
        "these are the scores e^z; divide by the sum of the row": e,
        "allowed says who sees whom; it is not always the triangle": attention_weights(
            q, k, np.tril(np.ones((n, n), dtype=bool))
        ),
        "the mask is the wrong way round": attention_weights(
            q, k, ~allowed | np.eye(n, dtype=bool)
        ),
    }


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


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
        dp = dout @ v.T
        along = (dp * p).sum(axis=-1, keepdims=True)
        dz, scale = p * (dp - along), 1 / np.sqrt(d)
        want = {"dq": dz @ k * scale, "dk": dz.T @ q * scale, "dv": p.T @ dout}
        for order in permutations(want):
            in_order = (np.allclose(g, want[x]) for g, x in zip((dq, dk, dv), order, strict=True))
            if all(in_order) and n > 1 and order != tuple(want):
                raise Wrong(f"you return {', '.join(order)}; return dq, dk, dv, in this order")
        compare(
            dv,
            want["dv"],
            f"dv for n = {n}, d = {d}",
            {"p enters transposed": p @ dout, "its sign": -want["dv"]},
        )
        for name, got, one, other in (("dq", dq, dz, k), ("dk", dk, dz.T, q)):
            wrong_dz = {
                "the softmax between p and z is left out": dp,
                "of the softmax, the sum over the row is missing": p * dp,
                "of the softmax, p outside the bracket is missing": dp - along,
                "of the softmax, the sum belongs to a row, axis=-1": p * (dp - (dp * p).sum()),
                "of the softmax, the sum is along axis -1, not 0": p * (dp - (dp * p).sum(axis=0)),
                "of the softmax, the sum is taken away, not added": p * (dp + along),
            }
            mistakes = {
                "its sign": -want[name],
                "the factor 1 / sqrt(d) is missing": one @ other,
                "z is divided by sqrt(d), not by d": one @ other / d,
                "times 1 / sqrt(d), once": one @ other * np.sqrt(d),
                "dz has to be transposed for dk, and not for dq": one.T @ other * scale,
                **{
                    why: (a.T if name == "dk" else a) @ other * scale for why, a in wrong_dz.items()
                },
            }
            if n > 1:  # with one slot there is nothing to tell apart
                compare(got, want[name], f"{name} for n = {n}, d = {d}", mistakes)
        try:
            gradcheck(attention, q, k, v)
        except GradientError as error:
            message = str(error)
            for i, name in enumerate(("dq", "dk", "dv")):
                message = message.replace(f"gradient of argument {i}", name)
            raise Wrong(message.replace("attention: ", "")) from None
    return "dq, dk and dv agree with finite differences, mask included"
