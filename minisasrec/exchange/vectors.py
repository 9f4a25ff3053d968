"""Item vectors for libraries that search nearest neighbours (FAISS, hnswlib, Annoy, ScaNN)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minisasrec.errors import ConfigError
from minisasrec.learn.runs import Run
from minisasrec.models import SequenceModel


def save_item_vectors(
    model: SequenceModel, path: str | Path, ids: Sequence[str] | None = None
) -> tuple[Path, Path]:
    """Write NAME.npy, float32 (I, d'), row r for item r + 1, and NAME.ids.npy (I) beside it.

    `ids` are the items' own ids with the padding's first (`dataset.item_ids`); without them the
    file holds 1..I. A score is the *inner product* with `model.encode(users, histories)`, so the
    index must be one of inner products: vectors have different lengths, and cosine or Euclidean
    distance order items otherwise. Returns both paths.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ConfigError(f"item vectors go to a .npy file, got {path}")
    if not isinstance(model, SequenceModel):
        raise ConfigError(f"{type(model).__name__} has no item vectors")
    vectors = np.ascontiguousarray(model.item_vectors()[1:], dtype=np.float32)
    if ids is None:
        names = np.arange(1, len(vectors) + 1)
    elif len(ids) == len(vectors) + 1:
        names = np.array([str(name) for name in ids[1:]])
    else:
        raise ConfigError(
            f"{len(ids)} ids for {len(vectors)} items; give one for each, the padding's first"
        )
    beside = path.with_suffix(".ids.npy")
    for target, array in ((path, vectors), (beside, names)):
        _write(target, array)
    return path, beside


def _write(path: Path, array: np.ndarray) -> None:
    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    Run(path.parent).write(path.name, save)
