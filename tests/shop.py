"""A small shop: its log as a table, and recommenders that are fitted once for many tests."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from minisasrec import Recommender
from minisasrec.data import DataWarning
from minisasrec.models import MODELS, SequenceModel

SMALL: dict[str, Any] = {"epochs": 2, "batch_size": 32}
START = 1_600_000_000  # a date in seconds


def log(users: int = 40, items: int = 120, length: int = 12, seed: int = 0) -> pd.DataFrame:
    """Users who walk through the pages in small steps."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        steps = (rng.integers(items) + np.cumsum(rng.integers(1, 4, length))) % items
        rows += [
            (f"u{user}", f"p{page}", START + 86_400 * t, f"Page {page}")
            for t, page in enumerate(steps)
        ]
    return pd.DataFrame(rows, columns=["visitor", "page", "at", "name"])


COLUMNS: dict[str, Any] = {
    "user": "visitor",
    "item": "page",
    "time": "at",
    "title": "name",
    "min_actions": 1,
    "progress": False,
}


def settings_of(model: str) -> dict[str, Any]:
    """A quick training of a small model."""
    if not issubclass(MODELS[model][0], SequenceModel):
        return {}
    return {**SMALL, "d": 8, "n": 10}


_made: dict[str, Recommender] = {}


def fitted(model: str = "sasrec") -> Recommender:
    """A fitted recommender, made once."""
    if model not in _made:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            _made[model] = Recommender(model, **settings_of(model)).fit(log(), **COLUMNS)
    return _made[model]
