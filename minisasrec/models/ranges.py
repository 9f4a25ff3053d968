"""The ranges that settings must keep; each message names the option of the command."""

from __future__ import annotations

import dataclasses
import math
from numbers import Integral, Real
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


def check_least(settings: Any, **least: int) -> None:
    """Raise `ConfigError` for a number below its least value."""
    for name, low in least.items():
        if not (value := getattr(settings, name)) >= low:
            raise ConfigError(f"{flag(name)} is {value}; it must be at least {low}")


def check_shares(settings: Any, *names: str, what: str = "the share dropped") -> None:
    """Raise `ConfigError` for a share that is not in [0, 1)."""
    for name in names:
        if not 0 <= (value := getattr(settings, name)) < 1:
            raise ConfigError(f"{flag(name)} is {value}; it is {what}, 0 <= share < 1")


def flag(name: str) -> str:
    """A setting as the command spells it: `--weight-average`."""
    return "--" + name.replace("_", "-")


def check_numbers(settings: Any) -> None:
    """Raise `ConfigError` for a number that is NaN, infinite or absurdly large, or no number."""
    for field in dataclasses.fields(settings):
        value, told = getattr(settings, field.name), flag(field.name)
        kind = {"int": Integral, "float": Real}.get(str(field.type))
        if kind and (not isinstance(value, kind) or isinstance(value, bool)):
            raise ConfigError(f"{told} is {value!r}; {field.type} was expected")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{told} is {value}; give a finite number")
        most = LARGEST.get(field.name, COUNT)
        if isinstance(value, int) and not -most <= value <= most:
            digits = f"{value:,}" if abs(value) < 10**30 else "a number of 30 digits or more"
            raise ConfigError(f"{told} is {digits}; it must be at most {most:,}")
