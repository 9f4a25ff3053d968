"""Exercises of the notebooks, graded by definition and not by one number.

A module `nbNN.py` beside this file holds the graders of notebook NN:

    @exercise("causal_mask", notebook="05_self_attention", hints=("...", "...", "..."))
    def _(answer):
        equal(answer(4), np.tril(...), "the mask of n = 4")
        return "position 2 sees positions 0, 1 and 2, and nothing later"

A grader raises `Wrong` with what is wrong, for which input and what was expected; any other error
that the answer causes (a failed gradient check, too) is reported in the same way. It returns one
sentence that says what has been shown. `check` prints, and never raises for a wrong answer.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minisasrec.errors import ConfigError, GradientError

Grader = Callable[[Any], str]


class Wrong(Exception):
    """Raised by a grader: what is wrong with an answer, for which input, what was expected."""


class _NotAttempted(Exception):
    pass


@dataclass
class Exercise:
    """A question of a notebook: its grader, its hints and how many of them were shown."""

    name: str
    notebook: str
    hints: tuple[str, ...]
    grade: Grader
    shown: int = 0


_EXERCISES: dict[str, Exercise] = {}


def exercise(name: str, *, notebook: str, hints: tuple[str, ...]) -> Callable[[Grader], Grader]:
    """Register a grader under the name that `check` and `hint` are called with."""

    def register(grade: Grader) -> Grader:
        if name in _EXERCISES:
            raise ConfigError(f"there is an exercise named {name!r} already")
        _EXERCISES[name] = Exercise(name, notebook, hints, grade)
        return grade

    return register


def exercises() -> dict[str, Exercise]:
    """Every exercise by name."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return _EXERCISES


def _find(name: str) -> Exercise:
    known = exercises()
    if name not in known:
        raise ConfigError(f"no exercise {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def check(name: str, answer: Any) -> None:
    """Print whether `answer` is right: "not attempted yet", "not yet: why" or "correct: what".

    An answer that is `...` or None, or a function that returns one of these (alone or in a tuple,
    at once or from a function it returned), has not been attempted. Raises `ConfigError` for an
    exercise that does not exist, and nothing else.
    """
    question = _find(name)
    try:
        print(f"correct: {question.grade(_attempted(answer))}")
    except _NotAttempted:
        print(f'not attempted yet. hint("{name}") helps')
    except Exception as error:  # whatever the answer does wrong, the notebook goes on
        what = str(error) if isinstance(error, Wrong | GradientError) else _raised(error)
        print(f'not yet: {what}. hint("{name}") helps')


def hint(name: str) -> None:
    """Print the next hint of an exercise; the last one also says where the solution is."""
    question = _find(name)
    question.shown = min(question.shown + 1, len(question.hints))
    print(f"hint {question.shown} of {len(question.hints)}: {question.hints[question.shown - 1]}")
    if question.shown == len(question.hints):
        print(f"(a solution is in notebooks/solutions/{question.notebook}.py)")


def _raised(error: Exception) -> str:
    first_line = (str(error).splitlines() or [""])[0]
    return f"your code raised {type(error).__name__}: {first_line}".rstrip(": .")


def _attempted(answer: Any) -> Any:
    """`answer` itself, with functions wrapped so that a body of `...` counts as no attempt."""
    if answer is None or answer is Ellipsis:
        raise _NotAttempted
    if isinstance(answer, tuple):
        return tuple(_attempted(part) for part in answer)
    if not inspect.isroutine(answer) and not hasattr(answer, "py_func"):  # a Numba function has it
        return answer

    @functools.wraps(answer)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _attempted(answer(*args, **kwargs))

    return call


def equal(got: Any, want: Any, what: str, *, rtol: float = 1e-6, atol: float = 1e-8) -> None:
    """Raise `Wrong` unless `got` is `want` to the tolerance; `what` names the thing compared."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        raise Wrong(f"{what} has shape {got.shape}, expected {want.shape}")
    if got.dtype.kind not in "biuf":
        raise Wrong(f"{what} holds {got.dtype}, expected numbers")
    same = np.isclose(got, want, rtol=rtol, atol=atol)
    if not same.all():
        at = tuple(int(i) for i in np.argwhere(~same)[0])
        where = f" at {at}" if at else ""
        raise Wrong(f"{what} is {got[at]:.6g}{where}, expected {want[at]:.6g}")
