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

    `ids` are the items' own ids (`Recommender.item_ids`, or `dataset.item_ids`, where the padding's
    comes first); without them the file holds 1..I. A score is the *inner product* with
    `model.encode(users, histories)`, so the index must be one of inner products: vectors have
    different lengths, and cosine or Euclidean distance order items otherwise. Vectors never stand
    beside the ids of others. Returns both paths.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ConfigError(f"item vectors go to a .npy file, got {path}")
    if not isinstance(model, SequenceModel):
        raise ConfigError(
            f"{type(model).__name__} has no item vectors; a Recommender has them in its model_"
        )
    vectors = np.ascontiguousarray(model.item_vectors()[1:], dtype=np.float32)
    if ids is None:
        names = np.arange(1, len(vectors) + 1)
    elif len(ids) - len(vectors) in (0, 1):
        names = np.array([str(name) for name in ids[len(ids) - len(vectors) :]])
    else:
        raise ConfigError(f"{len(ids)} ids for {len(vectors)} items; give one for each")
    beside = path.with_suffix(".ids.npy")
    folder = Run(path.parent)

    def save_vectors(temporary: Path) -> None:
        _save(temporary, vectors)
        folder.write(beside.name, save_ids)

    def save_ids(temporary: Path) -> None:
        _save(temporary, names)
        path.unlink(missing_ok=True)  # until both have their names, one is missing

    folder.write(path.name, save_vectors)
    return path, beside


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("w+b") as file:  # into a file for writing alone NumPy hides why it cannot
        np.save(file, array, allow_pickle=False)
