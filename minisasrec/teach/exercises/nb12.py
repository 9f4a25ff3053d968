"""Exercise of notebook 12: the interval of a paired bootstrap over users."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.experiments.significance import paired_bootstrap
from minisasrec.teach.exercises import Wrong, array, exercise, fresh, untouched


@exercise(
    "paired_bootstrap",
    notebook="12_results",
    hints=(
        "Only the difference a - b of each user matters. What is drawn are users, not models.",
        "One draw: (a - b)[rng.integers(U, size=U)].mean(). Keep the means of all draws.",
        "The middle 95% lies between np.quantile(means, 0.025) and np.quantile(means, 0.975).",
    ),
)
def _(answer: Any) -> str:
    # so many samples that chance does not take a right answer out of the tolerance
    drawn = int(fresh().integers(1 << 32)), 100, float(fresh().uniform(-1, 1)), 8000
    for seed, users, shift, samples in [
        (1, 200, 0.05, 2000), (2, 120, -0.2, 2000), (3, 300, 0.0, 2000), drawn
    ]:  # fmt: skip
        rng = np.random.default_rng(seed)
        common = rng.normal(size=users)  # easy and hard users, alike for both models
        a, b = common + shift + 0.3 * rng.normal(size=(2, users)) * [[1], [0.5]]
        got = _interval(answer, a, b, samples, seed)
        said = paired_bootstrap(a - b)
        want = np.array([said.low, said.high])
        width, middle = want[1] - want[0], said.difference
        if np.allclose(got, want, atol=0.06 * width):
            continue
        what = f"for {users} users the interval is {got[0]:.3f} to {got[1]:.3f}"
        wanted = f"expected about {want[0]:.3f} to {want[1]:.3f}"
        wide = got[1] - got[0]
        if np.allclose(got[::-1], -want, atol=0.06 * width):
            raise Wrong(f"{what}, {wanted}: you have b minus a")
        if wide < 1e-6 * width:
            raise Wrong(f"{what}: all draws have the same mean, so they are without replacement")
        if abs(got.mean() - middle) < 0.2 * width or wide > 2 * width:
            unpaired = 2 * 1.96 * np.sqrt((a.var() + b.var()) / users)
            if np.isclose(wide, unpaired, rtol=0.1):
                raise Wrong(
                    f"{what}, {wanted}: too wide, as if each model had users of its own; draw the "
                    "users once for both"
                )
            if wide > 4 * width:
                raise Wrong(f"{what}, {wanted}: that is the spread of users, not of their mean")
            if np.isclose(wide, width * 1.645 / 1.96, rtol=0.05):
                raise Wrong(f"{what}, {wanted}: you have the middle 90%, 2.5% belong to each side")
        raise Wrong(f"{what}, {wanted}")
    _skewed(answer)
    _few(answer)
    return "the interval is that of 10,000 draws of the package, to within chance, in every case"


def _interval(answer: Any, a: np.ndarray, b: np.ndarray, samples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    got = array(untouched(answer, a=a, b=b, samples=samples, rng=rng), "the result")
    if got.shape != (2,):
        raise Wrong(f"return two numbers, low and high; got shape {got.shape}")
    if got[0] > got[1]:
        raise Wrong(f"return low before high; got {got[0]:.3f}, {got[1]:.3f}")
    return got.astype(float)


def _skewed(answer: Any) -> None:
    """A few users gain much: the interval reaches further to that side."""
    rng = np.random.default_rng(4)
    b = rng.normal(size=25)
    a = b + rng.lognormal(sigma=1.5, size=25)
    got = _interval(answer, a, b, 4000, 4)
    said = paired_bootstrap(a - b)
    want, middle = np.array([said.low, said.high]), (a - b).mean()
    if np.allclose(got, want, atol=0.06 * np.ptp(want)):
        return
    what = (
        f"for 25 users, of whom a few gain much, the interval is {got[0]:.3f} to {got[1]:.3f}, "
        f"expected about {want[0]:.3f} to {want[1]:.3f}"
    )
    if np.allclose(got, 2 * middle - want[::-1], atol=0.06 * np.ptp(want)):
        raise Wrong(f"{what}: it is mirrored; take the quantiles of the drawn means themselves")
    if abs(got.mean() - middle) < 0.06 * np.ptp(want):
        raise Wrong(
            f"{what}: as far to both sides of the mean is a normal approximation; take the "
            "quantiles of the drawn means"
        )
    raise Wrong(what)


def _few(answer: Any) -> None:
    """Two users, of whom each must be drawn; `samples` and `rng` must count."""
    got = _interval(answer, np.array([0.0, 1]), np.zeros(2), 2000, 5)
    if not np.allclose(got, [0, 1]):
        raise Wrong(
            f"for two users, with a - b of 0 and 1, the interval is {got[0]:.3f} to {got[1]:.3f}, "
            "expected 0 to 1: draw each of the U users with the same probability"
        )
    a, b = np.random.default_rng(6).normal(size=(2, 50))
    once, again, fewer = (_interval(answer, a, b, samples, 6) for samples in (400, 400, 300))
    if not np.array_equal(once, again):
        raise Wrong("from the same rng you draw two different intervals; draw with it alone")
    if np.array_equal(once, fewer):
        raise Wrong("400 and 300 samples give the same interval; draw as often as samples says")
