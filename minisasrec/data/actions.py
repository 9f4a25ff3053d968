"""What a reader returns: raw actions in the order of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Actions:
    """Raw actions in file order: ids as codes into the tables of raw ids, times as numbers.

    ``users`` and ``items`` int32 (A,), ``times`` float64 or int64 (A,) or None when the file is
    already in time order. ``titles`` and ``categories`` are by raw item id. ``reading`` says in
    words what was understood of the source, ``notes`` what is odd. ``whole`` names "user" or "item"
    where a table with types of columns has whole numbers for their ids.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[Any] | None
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    titles: Mapping[str, str] | None = None
    categories: Mapping[str, tuple[str, ...]] | None = None
    notes: list[str] = field(default_factory=list)
    reading: Mapping[str, str] = field(default_factory=dict)
    whole: tuple[str, ...] = ()
