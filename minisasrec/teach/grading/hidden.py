"""Hidden cases: an instructor's own tests, which students do not see.

A small Python file, named with `class grade --hidden FILE`:

    from minisasrec.teach.exercises import equal
    from minisasrec.teach.grading.hidden import hidden

    @hidden("pad_left", points=2)
    def _(answer):
        equal(answer([5, 6, 7], 2), [6, 7], "s for the history [5, 6, 7] and n = 2")

Each is worth its points beside those of the exercise. `told=True` shows the student what a case
found; otherwise the feedback says only that a hidden case fails.
"""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minisasrec.errors import ConfigError
from minisasrec.teach.exercises import find


@dataclass(frozen=True)
class HiddenCase:
    """A test of an exercise that only the instructor has."""

    grade: Callable[[Any], str]
    points: float
    told: bool


_CASES: dict[str, list[HiddenCase]] = {}


def hidden(
    name: str, *, points: float = 1, told: bool = False
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Register a test of the exercise `name`; it raises `Wrong` (`equal` does) if it fails."""
    find(name)
    if not isinstance(points, int | float) or not 0 <= points < math.inf:
        raise ConfigError(
            f"a hidden case of {name} is worth {points!r} points; 0 or more are meant"
        )

    def register(test: Callable[[Any], None]) -> Callable[[Any], None]:
        def grade(answer: Any) -> str:
            test(answer)
            return ""

        _CASES.setdefault(name, []).append(HiddenCase(grade, points, told))
        return test

    return register


def read_hidden(file: Path) -> dict[str, list[HiddenCase]]:
    """The cases of a file, by exercise. Raises `ConfigError` for a file that does not run."""
    _CASES.clear()
    try:
        runpy.run_path(str(file))
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{file} with hidden cases does not run: {type(error).__name__}: {error}"
        ) from None
    return {name: list(cases) for name, cases in _CASES.items()}
