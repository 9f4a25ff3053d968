"""Exercises of the notebooks, graded by definition and not by one number.

A module `nbNN.py` beside this file holds the graders of notebook NN:

    @exercise("causal_mask", notebook="05_self_attention", hints=("...", "...", "..."))
    def _(answer):
        equal(answer(4), np.tril(...), "the mask of n = 4")
        return "position 2 sees positions 0, 1 and 2, and nothing later"

A grader raises `Wrong` with what is wrong, for which input and what was expected; any other error
that the answer causes (a failed gradient check, too) is reported in the same way. It returns one
sentence that says what has been shown. `check` prints, and never raises for a wrong answer.

Where an answer is a few plain numbers, the last cases are drawn by `fresh`, anew at each check, so
that a table of what earlier checks expected is wrong. The fixed ones come first, with a message for
each likely mistake.

A grader only calls the answer and looks at what it returns, as plain numbers and arrays. So the
answer may stand in another process (`minisasrec.teach.grading`), where it cannot touch the grader.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np

from minisasrec.autograd.tensor import Tensor
from minisasrec.errors import ConfigError, GradientError
from minisasrec.teach.attempt import NotAttempted, Wrong, attempted, story, untouched

__all__ = [
    "Wrong",
    "array",
    "check",
    "compare",
    "equal",
    "exercise",
    "exercises",
    "fresh",
    "hint",
    "pair",
    "require",
    "untouched",
    "verdict",
]

Grader = Callable[[Any], str]
Result = Literal["correct", "not yet", "not attempted"]


@dataclass
class Exercise:
    """A question of a notebook: its grader, its hints and how many of them were shown."""

    name: str
    notebook: str
    hints: tuple[str, ...]
    grade: Grader
    points: float = 1
    shown: int = 0


@dataclass(frozen=True)
class Verdict:
    """What a grader found: "correct", "not yet" or "not attempted", and a sentence on it."""

    result: Result
    text: str


_EXERCISES: dict[str, Exercise] = {}


def exercise(
    name: str, *, notebook: str, hints: tuple[str, ...], points: float = 1
) -> Callable[[Grader], Grader]:
    """Register a grader under the name that `check` and `hint` are called with."""

    def register(grade: Grader) -> Grader:
        if name in _EXERCISES:
            raise ConfigError(f"there is an exercise named {name!r} already")
        _EXERCISES[name] = Exercise(name, notebook, hints, grade, points)
        return grade

    return register


def exercises() -> dict[str, Exercise]:
    """Every exercise by name."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return _EXERCISES


def find(name: str) -> Exercise:
    """The exercise of this name. Raises `ConfigError` where there is none."""
    known = exercises()
    if name not in known:
        raise ConfigError(f"no exercise {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def verdict(grade: Grader, answer: Any) -> Verdict:
    """What a grader says of an answer. Whatever the answer does wrong, this returns."""
    try:
        return Verdict("correct", grade(attempted(answer)))
    except NotAttempted as part:
        return Verdict("not attempted", f"{part} has no body yet" if str(part) else "")
    except (Wrong, GradientError) as error:
        return Verdict("not yet", str(error))
    except (Exception, SystemExit) as error:
        return Verdict("not yet", story(error))


def check(name: str, answer: Any) -> None:
    """Print whether `answer` is right: "not attempted yet", "not yet: why" or "correct: what".

    An answer that is `...` or None, or a function without a body (or one that returns such a
    function), has not been attempted. Raises `ConfigError` for an exercise that does not exist,
    and nothing else.
    """
    said = verdict(find(name).grade, answer)
    if said.result == "correct":
        print(f"correct: {said.text}")
    elif said.result == "not yet":
        print(f'not yet: {said.text}. hint("{name}") helps')
    else:
        print(f'not attempted yet{": " * bool(said.text)}{said.text}. hint("{name}") helps')


def require(name: str, answer: Any) -> None:
    """Like `check`, but raises AssertionError unless `answer` is right: for nbgrader and Otter."""
    said = verdict(find(name).grade, answer)
    assert said.result == "correct", f"{said.result}: {said.text}".removesuffix(": ")


def hint(name: str) -> None:
    """Print the next hint of an exercise; the last one says where the solution is, if it is."""
    question = find(name)
    question.shown = min(question.shown + 1, len(question.hints))
    print(f"hint {question.shown} of {len(question.hints)}: {question.hints[question.shown - 1]}")
    file = Path("solutions") / f"{question.notebook}.py"  # a class gets none
    if question.shown == len(question.hints) and (file.is_file() or ("notebooks" / file).is_file()):
        print(f"(a solution is in notebooks/solutions/{question.notebook}.py)")


def fresh() -> np.random.Generator:
    """What draws cases that no earlier check had, so many that none comes again."""
    return np.random.default_rng()


def equal(got: Any, want: Any, what: str, *, rtol: float = 1e-6, atol: float = 1e-8) -> None:
    """Raise `Wrong` unless `got` is `want` to the tolerance; `what` names the thing compared."""
    got, want = array(got, what), np.asarray(want)
    if got.shape != want.shape:
        raise Wrong(f"{what} has shape {got.shape}, expected {want.shape}")
    same = np.isclose(got, want, rtol=rtol, atol=atol)
    if not same.all():
        at = tuple(int(i) for i in np.argwhere(~same)[0])
        where = f" at {at}" if at else ""
        digits = next(n for n in (6, 9, 12, 17) if n == 17 or _differ(got[at], want[at], n))
        raise Wrong(f"{what} is {got[at]:.{digits}g}{where}, expected {want[at]:.{digits}g}")


def compare(
    got: Any,
    want: Any,
    what: str,
    mistakes: Mapping[str, Any],
    *,
    rtol: float = 1e-6,
    atol: float = 1e-8,
) -> None:
    """Like `equal`; where `got` is what just one of the `mistakes` gives, the message names it."""
    found = array(got, what)
    if found.shape == np.shape(want) and not np.allclose(found, want, rtol=rtol, atol=atol):
        told = [
            mistake
            for mistake, value in mistakes.items()
            if np.shape(value) == found.shape and np.allclose(found, value, rtol=rtol, atol=atol)
        ]
        if len(told) == 1:
            raise Wrong(f"{what} is wrong: {told[0]}")
    equal(found, want, what, rtol=rtol, atol=atol)


def pair(result: Any, names: str) -> tuple[Any, Any]:
    """The two parts of a tuple, a list or an array; `Wrong` tells to return what `names` lists."""
    parts = list(result) if isinstance(result, np.ndarray) and result.ndim else result
    if not isinstance(parts, tuple | list) or len(parts) != 2:
        raise Wrong(f"return {names}; got a {type(result).__name__}")
    return parts[0], parts[1]


def array(got: Any, what: str, kinds: str = "biuf") -> np.ndarray:
    """`got` as an array of numbers, or `Wrong`. `kinds`: "iu" for whole numbers, "b" for bools."""
    if isinstance(got, Tensor) or type(got).__name__ == "Tensor":
        raise Wrong(f"{what} is a Tensor, expected an array: take its .data")
    try:
        found = np.asarray(got)
    except ValueError:
        raise Wrong(f"{what} is no array: its rows have different lengths") from None
    if found.dtype == object and all(isinstance(number, Real) for number in found.flat):
        found = found.astype(float)  # fractions, say
    if found.dtype == object and not found.ndim:
        raise Wrong(f"{what} is a {type(got).__name__}, expected an array of numbers")
    if found.dtype.kind not in kinds:
        wanted = {"iu": "whole numbers", "b": "True and False"}.get(kinds, "numbers")
        raise Wrong(f"{what} holds {found.dtype}, expected {wanted}")
    return found


def _differ(got: Any, want: Any, digits: int) -> bool:
    return f"{got:.{digits}g}" != f"{want:.{digits}g}"
