"""A complete map between the item ids of another catalogue and ours.

Wrong ids would raise no error: every vector has the right shape, but it belongs to another item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minisasrec.border import at_home
from minisasrec.data.dataset import PAD
from minisasrec.errors import CheckpointError, DataError
from minisasrec.exchange.arrays import Source
from minisasrec.learn.runs import ITEMS, Run

Array = np.ndarray
ItemMap = Mapping[int, int] | Sequence[int] | Array


def item_map(theirs: Sequence[Any], ours: Sequence[Any]) -> dict[int, int]:
    """{their id: our id} for items of the same name; entry i of each list is the name of item i.

    Entry 0 is the padding's and is not looked at. `ours` is usually `dataset.item_ids`. Names are
    compared as text. Raises `DataError` for a name that occurs twice or that only one side has.
    """
    numbers: list[dict[str, int]] = []
    for whose, names in (("their", theirs), ("our", ours)):
        number: dict[str, int] = {}
        for i, name in enumerate(map(str, names)):
            if i and number.setdefault(name, i) != i:
                raise DataError(f"{whose} items {number[name]} and {i} are both named {name!r}")
        numbers.append(number)
    theirs_by_name, ours_by_name = numbers
    for has, lacks, only in (
        ("they", "we", theirs_by_name.keys() - ours_by_name.keys()),
        ("we", "they", ours_by_name.keys() - theirs_by_name.keys()),
    ):
        if only:
            raise DataError(
                f"{has} have {len(only)} items that {lacks} lack, such as {min(only)!r}; both "
                "models need the same catalogue"
            )
    return {i: ours_by_name[name] for name, i in theirs_by_name.items()}


def ids_beside(source: Source) -> list[str] | None:
    """The item ids of the run that a file of weights lies in, entry 0 the padding's.

    None if there are none. Raises `CheckpointError` for a damaged items.json.
    """
    if isinstance(source, Mapping):
        return None
    run = Run(at_home(Path(source)).parent)
    if not run.path(ITEMS).is_file():
        return None
    ids = run.load_json(ITEMS).get("ids")
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        raise CheckpointError(f"{run.path(ITEMS)} should hold a list of texts, ids")
    return [PAD, *ids]


def their_rows(items: ItemMap | None, num_items: int) -> Array:
    """`rows` (I + 1): our item i is row rows[i] of their table; row 0 is the padding in both.

    `items` maps their ids to ours, as {theirs: ours} or as an array with items[theirs] = ours;
    without it both are the same. Raises `DataError` unless it maps 1..I to 1..I one to one.
    """
    if items is None:
        return np.arange(num_items + 1)
    pairs = dict(items.items() if isinstance(items, Mapping) else enumerate(items))
    last = f"the item table has {num_items} items"
    for theirs, ours in pairs.items():
        for whose, i in (("their", theirs), ("our", ours)):
            if isinstance(i, bool | np.bool_) or not isinstance(i, int | np.integer):
                raise DataError(
                    f"the item map holds {i!r}; ids are whole numbers, 1 to {num_items}"
                )
            if not 0 <= i <= num_items:
                raise DataError(f"the item map has {whose} item {i}; {last}, 1 to {num_items}")
        if (theirs == 0) != (ours == 0):
            raise DataError(
                f"the item map takes their {theirs} to our {ours}; 0 is the padding in both"
            )
    pairs[0] = 0
    holes = sorted(set(range(num_items + 1)) - pairs.keys())
    if holes:
        raise DataError(
            f"the item map lacks {len(holes)} of their items, such as {holes[0]}; {last}"
        )
    rows = np.full(num_items + 1, -1)
    for theirs, ours in pairs.items():
        if rows[ours] >= 0:
            raise DataError(
                f"the item map takes their items {rows[ours]} and {theirs} both to our {ours}"
            )
        rows[ours] = theirs
    return rows
