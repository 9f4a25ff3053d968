"""The verdict on a gradient check: entry by entry, with a second look before "wrong" is said."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.autograd.differences import (
    Slopes,
    as_column,
    differs,
    noise_of,
    reach_of,
    second_look,
    size_of,
    steps_of,
)
from minisasrec.autograd.subject import Subject

Array = np.ndarray
Entry = tuple[int, tuple[int, ...]]  # (number of the argument, index into it)
MANY = -1024.0  # a dy so much larger shows whether backward is linear: exact, and beyond a clip


class Judge:
    """Decides entry by entry, and looks again where the quick differences say no.

    `numeric` holds the Jacobians as far as they are known, `error` how far off they may be. Where
    backward is right, its number stands; at a kink, the number between the slopes of both sides
    that is nearest to it.
    """

    def __init__(
        self,
        subject: Subject,
        y: Array,
        cotangent: Array,
        analytic: list[Array],
        sides: list[tuple[Array, Array]],
        step: float,
        rtol: float,
        atol: float,
    ) -> None:
        self.subject, self.y, self.cotangent, self.analytic = subject, y, cotangent, analytic
        self.rtol, self.atol = rtol, atol
        self.unit = float(np.finfo(np.float64).eps)
        self.noise: Array | None = None
        self.numeric = [(left + right) / 2 for left, right in sides]
        self.bend = [np.abs(right - left) for left, right in sides]
        for numeric, bend, a in zip(self.numeric, self.bend, analytic, strict=True):
            infinite = ~np.isfinite(y).ravel()  # such an output has no differences
            numeric[infinite], bend[infinite] = a[infinite], 0
        with np.errstate(all="ignore"):
            reach = reach_of(y * cotangent, self.numeric, subject.arrays)
            self.error = [
                4 * self.unit * as_column(reach, a) / steps_of(a, step) for a in subject.arrays
            ]
        self.kinks: dict[int, list[Entry]] = {}  # output -> entries
        self.tolerance = [np.zeros_like(a) for a in analytic]
        self.notes: list[str] = []

    def wrong(self) -> list[Array]:
        """For each argument, which entries (output, *entry of x) are wrong."""
        wrong = [self._of_argument(i) for i in range(len(self.analytic))]
        for o, entries in self.kinks.items():
            if len(entries) > 1 and not self._right_together(o, entries):
                for i, at in entries:
                    wrong[i][(o, *at)] = True
        if not any(map(np.any, self.numeric)) and not any(map(np.any, self.analytic)):
            if self.y.size and self.subject.kind == "arrays" and not self.subject.is_op:
                self.notes.append(
                    "its result does not depend on its arguments here, so there is little to "
                    "check; try other arguments"
                )
        return wrong

    def _of_argument(self, i: int) -> Array:
        analytic, numeric, bend = self.analytic[i], self.numeric[i], self.bend[i]
        with np.errstate(all="ignore"):
            seen = np.zeros(numeric.shape[1:], dtype=bool)
            wrong = np.zeros(numeric.shape, dtype=bool)
            confirmed = False  # an entry is wrong where quick and slow differences agree
            while True:
                self.tolerance[i] = self._tolerance(i)
                off = ~(np.abs(analytic - numeric) <= self.tolerance[i] + self.error[i])
                unsure = self.error[i] > 0.01 * self._matters(i) + self.atol
                scale = np.abs(numeric[np.isfinite(numeric)]).max(initial=0)
                lost = ~np.isfinite(numeric).all(axis=0) & ~seen  # the quick step left f's domain
                doubtful = (off | unsure | (bend > 1e-3 * scale)).any(axis=0) & ~seen
                enough = confirmed or (wrong.any() and seen.sum() > 100)
                if not doubtful.any() or (enough and not lost.any()):
                    break
                worst = np.nan_to_num(np.abs(analytic - numeric), nan=np.inf).max(axis=0)
                entries = [tuple(map(int, at)) for at in np.argwhere(doubtful)]
                at: Any
                for at in sorted(entries, key=lambda at: -worst[at])[: 8 if seen.any() else 1]:
                    quick = numeric[(slice(None), *at)].copy()
                    wrong[(slice(None), *at)] = self._look_again(i, at)
                    seen[at] = True
                    moved = np.abs(quick - numeric[(slice(None), *at)])
                    still = moved <= self.tolerance[i][(slice(None), *at)]
                    confirmed |= bool(wrong.any() and still.all())
        # what is small beside the others has no say in training, and it is often small
        unsure &= np.abs(analytic) >= 0.03 * np.abs(analytic[np.isfinite(analytic)]).max(initial=0)
        if unsure.any() and not off.any():
            at = tuple(int(k) for k in np.argwhere(unsure)[0][1:])
            self.notes.append(
                f"differences say little about {self.subject.names[i]} at {at}: the function is "
                "too steep or too coarse there"
            )
        numeric[~off] = analytic[~off]  # so that a diagnosis sees no rounding beside the mistake
        return off

    def _tolerance(self, i: int) -> Array:
        """Of each entry, by its own size; backward may round by the largest of its output's."""
        size = np.abs(np.nan_to_num(self.numeric[i], posinf=0, neginf=0))
        largest = size.max(axis=tuple(range(1, size.ndim)), keepdims=True, initial=0)
        return max(self.rtol, 1e3 * self.unit) * size + 1e3 * self.unit * largest + self.atol

    def _matters(self, i: int) -> Array:
        """Of each entry, the slope that its differences should show: its own, if it has one."""
        y = size_of(np.nan_to_num(self.y, posinf=0, neginf=0))
        usual = 1e-6 * y / max(map(size_of, self.subject.arrays))
        usual = max(usual, *(np.abs(a[np.isfinite(a)]).max(initial=0) for a in self.analytic))
        size = np.abs(self.analytic[i])
        rounding = 10 * self.unit * y / size_of(self.subject.arrays[i])
        return np.where(size > rounding, size, usual)

    def _cancelled(self, i: int) -> float:
        """What rounding leaves of a gradient that is 0 because large terms cancel.

        The terms are as large as those of the other arguments: attention to a single key has no
        slope in q, but backward computes it from numbers as large as v.
        """
        pairs = zip(self.numeric, self.subject.arrays, strict=True)
        reach = [np.abs(j[np.isfinite(j)]).max(initial=0) * size_of(a) for j, a in pairs]
        return float(1e3 * self.unit * max(reach) / size_of(self.subject.arrays[i]))

    def linear(self, once: Array, scaled: Array, i: int) -> bool:
        """True if backward is linear in dy: rows add up to the whole, and MANY dy give MANY dx."""
        rtol = max(self.rtol, 1e3 * self.unit)
        y = size_of(np.nan_to_num(self.y, posinf=0, neginf=0)) * np.abs(self.cotangent).sum()
        rounding = 1e4 * self.unit * y / size_of(self.subject.arrays[i]) + self._cancelled(i)
        rows = self.analytic[i]
        tolerance = rtol * np.abs(rows).sum(axis=0) + rounding + self.atol
        return not (
            differs(once, rows.sum(axis=0), tolerance)
            or differs(scaled, MANY * once, abs(MANY) * tolerance)
        )

    def _look_again(self, i: int, at: tuple[int, ...]) -> Array:
        """Better slopes of one entry of x, to be written into `numeric`; which of them are off."""
        arrays = self.subject.arrays
        direction = [np.zeros_like(a) for a in arrays]
        direction[i][at] = 1.0
        slopes = self._slopes(direction, abs(float(arrays[i][at])) or min(1, size_of(arrays[i])))
        column: Any = (slice(None), *at)
        analytic = self.analytic[i][column]
        self.numeric[i][column] = np.clip(analytic, slopes.low, slopes.high)
        missing = ~np.isfinite(analytic)
        self.numeric[i][column][missing] = slopes.low[missing]
        self.bend[i][column] = 0
        none = np.abs(self.numeric[i][column]) <= slopes.error
        self.error[i][column] = slopes.error + np.where(none, self._cancelled(i), 0)
        off = np.abs(analytic - self.numeric[i][column]) > (
            self._tolerance(i)[column] + self.error[i][column]
        )
        for o in np.flatnonzero(slopes.kink):
            self._tell_kink(i, at, int(o), slopes)
            if off[o] and self._many_kinks(direction, int(o)):
                self.numeric[i][(o, *at)] = analytic[o]  # no number is wrong here
                off[o] = False
            else:
                self.kinks.setdefault(int(o), []).append((i, at))
        return off

    def _slopes(self, direction: list[Array], start: float) -> Slopes:
        if self.noise is None:
            weights = [as_column(self.cotangent, a) for a in self.subject.arrays]
            jacobians = [j / w for j, w in zip(self.numeric, weights, strict=True)]
            self.noise, self.unit = noise_of(self.subject.value, self.subject.arrays, jacobians)
        s = second_look(self.subject.value, self.subject.arrays, direction, self.noise, start)
        dy = self.cotangent.ravel()
        low, high = s.low * dy, s.high * dy
        return Slopes(np.minimum(low, high), np.maximum(low, high), s.error * np.abs(dy), s.kink)

    def _right_together(self, o: int, entries: list[Entry]) -> bool:
        """At a kink, entries that move together may have a slope: tied maxima rise by 1 in all."""
        direction = [np.zeros_like(a) for a in self.subject.arrays]
        for i, at in entries:
            direction[i][at] = 1.0
        start = max(abs(float(self.subject.arrays[i][at])) for i, at in entries) or 1.0
        slopes = self._slopes(direction, start)
        added_up = sum(self.analytic[i][(o, *at)] for i, at in entries)
        tolerance = slopes.error[o] + sum(self.tolerance[i][(o, *at)] for i, at in entries)
        return bool(slopes.kink[o] or abs(added_up - slopes.low[o]) <= tolerance)

    def _many_kinks(self, direction: list[Array], o: int) -> bool:
        """True if several kinks meet here: then slopes beside x take more than two values.

        Two ReLUs of a layer whose input is all zeros do this, and what backward returns, with
        each slope taken as 0, need not lie between the slopes on both sides.
        """
        rng = np.random.default_rng(0)
        arrays = self.subject.arrays
        h = 1e-7 * max(map(size_of, arrays))
        beside = []
        for _ in range(12):
            near = [a + 1e-4 * size_of(a) * rng.uniform(-1, 1, a.shape) for a in arrays]
            up = [a + h * v for a, v in zip(near, direction, strict=True)]
            down = [a - h * v for a, v in zip(near, direction, strict=True)]
            above, below = (self.subject.value(*ends).ravel()[o] for ends in (up, down))
            beside.append(float(above - below) / (2 * h))
        spread = float(np.ptp(beside))
        return spread > 0 and len({round(slope / spread, 1) for slope in beside}) > 2

    def _tell_kink(self, i: int, at: tuple[int, ...], o: int, slopes: Slopes) -> None:
        if any("kink" in note for note in self.notes):
            return  # one is enough to know
        weight = self.cotangent.ravel()[o]
        sides = sorted((float(slopes.low[o] / weight), float(slopes.high[o] / weight)))
        name = self.subject.names[i]
        self.notes.append(
            f"a kink in {name} at {tuple(map(int, at))}: the slopes on its two sides are "
            f"{sides[0]:.4g} and {sides[1]:.4g}, and any number between them is right"
        )
