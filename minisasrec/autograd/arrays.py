"""Make an array of what a caller gave, and say in an error what it is instead."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.errors import ShapeError


def as_array(who: str, value: Any) -> np.ndarray:
    """`value` as an array, no copy of one; `ShapeError` for rows of different lengths."""
    try:
        return np.asarray(value)
    except ShapeError:
        raise
    except ValueError:
        raise ShapeError(
            f"{who}: {str(value)[:60]} is no array: its rows have different lengths"
        ) from None


def kind_of(value: Any) -> str:
    """What a wrong value is, in the words of an error: None, a list, an int."""
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
