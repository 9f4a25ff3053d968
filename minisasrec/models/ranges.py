"""The ranges that numbers among the settings must keep, whatever they mean."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

from minisasrec.errors import ConfigError

# more would be a slip of the keyboard
LARGEST = {"n": 2**20, "d": 2**16, "blocks": 2**10, "L": 2**10, "T": 2**10, "seed": 2**64 - 1}
COUNT = 2**31 - 1  # of all other whole numbers


def check_choices(settings: Any, **choices: Any) -> None:
    """Raise `ConfigError` for a setting that is none of its choices, each given as a `Literal`."""
    for name, literal in choices.items():
        if getattr(settings, name) not in (allowed := get_args(literal)):
            raise ConfigError(
                f"{name} is {getattr(settings, name)!r}; choose one of {', '.join(allowed)}"
            )


def check_numbers(settings: Any) -> None:
    """Raise `ConfigError` for a number that is NaN, infinite or absurdly large."""
    for field in dataclasses.fields(settings):
        value, flag = getattr(settings, field.name), field.name.replace("_", "-")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"--{flag} is {value}; give a finite number")
        most = LARGEST.get(field.name, COUNT)
        if isinstance(value, int) and not -most <= value <= most:
            digits = f"{value:,}" if abs(value) < 10**30 else "a number of 30 digits or more"
            raise ConfigError(f"--{flag} is {digits}; it must be at most {most:,}")
