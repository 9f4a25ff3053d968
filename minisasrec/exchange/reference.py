"""A reference batch: the logits that the port gives for some sequences, compared with ours.

Names and shapes do not say which wiring the weights belong to, nor how many heads. A position table
that is shifted by one hardly changes any metric. The logits show all of this. Where they differ,
other readings of the same weights are tried, and the one that fits is named.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from minisasrec.data.sequences import Packed, pack_sequences
from minisasrec.errors import CheckpointError, DataError
from minisasrec.exchange.arrays import as_array, read_arrays
from minisasrec.exchange.port_names import Arrays, Reading
from minisasrec.models.base import NOBODY
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import Norm, Padding

Array = np.ndarray
TOLERANCE = 1e-4  # of a logit, or of the largest one where that is above 1
SOME = 16  # sequences on which other readings are tried
MOST_HEADS = 16

Change = tuple[str, Callable[[Reading], Reading]]


@dataclass(frozen=True)
class Reference:
    """Sequences of item ids and the logits (B, I) of items 1 to I after each, in *our* ids."""

    sequences: list[Array]
    logits: Array

    @classmethod
    def read(cls, source: Any, num_items: int) -> Reference:
        """From (sequences, logits), or a file or mapping with arrays of these names.

        `sequences` are lists of ids, or an array (B, n) padded with 0 on the left; `logits` are
        (B, I + 1), whose first column is the padding's, or (B, I). Raises `DataError`.
        """
        if isinstance(source, str | Path | Mapping):
            arrays = read_arrays(source)
            if arrays.keys() != {"sequences", "logits"}:
                raise DataError(
                    f"a reference batch holds sequences and logits, got {', '.join(arrays)}"
                )
            source = arrays["sequences"], arrays["logits"]
        if not isinstance(source, tuple) or len(source) != 2:
            raise DataError("a reference batch is (sequences, logits), or a file with both")
        sequences = [_unpadded(one, num_items) for one in source[0]]
        logits = as_array("logits", source[1])
        B, shape = len(sequences), logits.shape
        if not B or shape not in ((B, num_items), (B, num_items + 1)):
            raise DataError(
                f"logits have shape {shape}; {B} sequences and {num_items} items need "
                f"({B}, {num_items + 1}), or one column less without the padding's"
            )
        logits = logits[:, shape[1] - num_items :].astype(np.float64)
        if not np.isfinite(logits).all():
            raise DataError("the logits of the reference batch hold NaN or infinity")
        return cls(sequences, logits)

    def some(self) -> Reference:
        """The first few."""
        return Reference(self.sequences[:SOME], self.logits[:SOME])

    def difference(self, model: SASRec) -> float:
        """The largest |ours - theirs|, in units of the largest logit if that is above 1."""
        histories: Packed = pack_sequences(self.sequences, model.n)
        ours = model.all_scores(np.full(len(self.sequences), NOBODY), histories)[:, 1:]
        return float(np.abs(ours - self.logits).max() / max(1.0, np.abs(self.logits).max()))

    def fits(self, model: SASRec) -> bool:
        """Whether the model gives these logits, to 1e-4."""
        return self.difference(model) <= TOLERANCE


def _unpadded(sequence: Any, num_items: int) -> Array:
    array = as_array("a sequence of the reference batch", sequence)
    items = np.trim_zeros(array, "f")
    if array.dtype.kind == "f" or array.ndim != 1 or not len(items):
        raise DataError("a sequence of the reference batch needs item ids, at least one")
    if items.min() < 1 or items.max() > num_items:
        raise DataError(
            f"a sequence of the reference batch has ids {items.min()} to {items.max()}; items are "
            f"1 to {num_items}, and padding (0) stands on the left"
        )
    return items.astype(np.int32)


def check(theirs: Arrays, reading: Reading, model: SASRec, reference: Reference) -> list[str]:
    """Raise `CheckpointError` if the logits differ, with the reading that would fit if one does.

    Returns what the batch cannot tell apart: other readings that fit as well.
    """
    difference = reference.difference(model)
    few = reference.some()
    if difference <= TOLERANCE:
        return [words for words, one in _others(reading, 1) if few.fits(one.model(theirs))]
    message = (
        f"the logits differ from the reference batch's by {difference:.2g} of the largest "
        f"({TOLERANCE:g} is allowed)"
    )
    for words, one in _others(reading, 2):
        if few.fits(other := one.model(theirs)) and reference.fits(other):
            raise CheckpointError(f"{message}; they fit with {words}")
    raise CheckpointError(
        f"{message}, and no other wiring, heads or position fits; are items numbered otherwise "
        "(items=), or was the port's code changed?"
    )


def _others(reading: Reading, most: int) -> Iterator[tuple[str, Reading]]:
    """Readings that differ in one thing, then in two, up to `most`, each with words for it."""
    kinds = _changes(reading)
    for count in range(1, most + 1):
        for chosen in itertools.combinations(kinds, count):
            for changes in itertools.product(*chosen):
                other = reading
                for _, change in changes:
                    other = change(other)
                yield " and ".join(words for words, _ in changes), other


def _changes(reading: Reading) -> Sequence[list[Change]]:
    """What may be misread, by kind. Of each kind, one change is made at a time."""
    c, rows = reading.config, reading.rows

    def settings(words: str, **values: Any) -> Change:
        return words, lambda r: r.with_settings(**values)

    def replace(words: str, **values: Any) -> Change:
        return words, lambda r: dataclasses.replace(r, **values)

    wirings = [
        settings(f"norm={norm!r}, padding={padding!r}", norm=norm, padding=padding)
        for norm in get_args(Norm)
        if norm != "ligr"  # which has other layers
        for padding in get_args(Padding)
        if (norm, padding) != (c.norm, c.padding)
    ]
    heads = [
        settings(f"heads={h}", heads=h)
        for h in range(1, MOST_HEADS + 1)
        if c.d % h == 0 and h != c.heads
    ]
    positions = []
    if reading.first > 0:  # 1: the table has a row for padding
        positions = [replace("positions that begin at row 0 of pos_emb.weight", first=0)]
    matrices = [
        replace(f"the matrices of {words} taken as they are, not transposed", transposed=layers)
        for words, layers in (
            ("attention and FFN", ("attention", "ffn")),
            ("attention", ("attention",)),
            ("the FFN", ("ffn",)),
        )
    ]
    items = []
    if (rows != np.arange(len(rows))).any():
        items = [
            replace("no item map; are the ids of the batch theirs?", rows=np.arange(len(rows))),
            replace("the item map the other way round, {theirs: ours}", rows=np.argsort(rows)),
        ]
    scale = [settings("no factor sqrt(d) on the input", scale_embedding=False)]
    if c.norm == "authors":  # which always has the factor
        scale = []
    of_blocks = [wirings, heads, matrices] if c.blocks else []
    return [*of_blocks, positions, items, scale]
