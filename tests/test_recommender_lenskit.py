"""The scorer of LensKit passes the tests that LensKit has for its own scorers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("lenskit", reason="LensKit is not installed")

from lenskit.data import Dataset, ItemList, RecQuery, from_interactions_df
from lenskit.pipeline import topn_pipeline
from lenskit.testing import BasicComponentTests, ScorerTests

from minisasrec.lenskit import SequentialConfig, SequentialScorer

SMALL: dict[str, Any] = {"epochs": 2, "d": 8, "n": 10}


def ratings(users: int = 150, items: int = 300, seed: int = 0) -> pd.DataFrame:
    """Users who walk through the catalogue; the rows are in no order."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        steps = (rng.integers(items) + np.cumsum(rng.integers(1, 4, 20))) % items
        times = 1_600_000_000 + np.sort(rng.integers(0, 10**7, 20))
        rows += [(user + 1, item + 1, 4.0, time) for item, time in zip(steps, times, strict=True)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="s")
    return frame.sample(frac=1, random_state=0, ignore_index=True)


@pytest.fixture(scope="module")
def ml_ratings() -> pd.DataFrame:
    return ratings()


@pytest.fixture(scope="module")
def ml_ds(ml_ratings: pd.DataFrame) -> Iterator[Dataset]:
    yield from_interactions_df(ml_ratings)


@pytest.fixture(scope="module")
def ml_100k(ml_ratings: pd.DataFrame) -> pd.DataFrame:
    return ml_ratings  # for tests of accuracy, which skip where none is expected


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(42)


class TestSASRec(BasicComponentTests, ScorerTests):
    component = SequentialScorer
    config = SequentialConfig("sasrec", settings=SMALL)
    configs = [{"model": "gru4rec", "seed": 3, "settings": {"d": 8}}, {"on": "train"}]


class TestBPR(ScorerTests):
    component = SequentialScorer
    config = SequentialConfig("bpr", settings=SMALL)


class TestMarkov(ScorerTests):
    component = SequentialScorer
    config = SequentialConfig("markov")


def test_it_scores_as_the_recommender_recommends(ml_ds: Dataset) -> None:
    scorer = SequentialScorer(model="sasrec", settings=SMALL)
    pipeline = topn_pipeline(scorer, n=5)
    pipeline.train(ml_ds)
    trained = pipeline.component("scorer").recommender_
    best = trained.recommend([7], k=5)
    assert pipeline.run("recommender", query=7).ids().tolist() == best["item"].tolist()
    history = ItemList([5, 9, 12])
    found = pipeline.run("recommender", query=RecQuery(user_id=-1, history_items=history))
    assert found.ids().tolist() == trained.recommend(histories=[[5, 9, 12]], k=5)["item"].tolist()
    late_first = ItemList([12, 5, 9], timestamp=[30, 10, 20])
    again = pipeline.run("recommender", query=RecQuery(history_items=late_first))
    assert again.ids().tolist() == found.ids().tolist()


def test_it_learns_from_the_order_and_not_from_the_rows() -> None:
    frame = ratings()
    one, other = SequentialScorer(model="markov"), SequentialScorer(model="markov")
    one.train(from_interactions_df(frame))
    other.train(from_interactions_df(frame.sort_values("timestamp", ignore_index=True)))
    items = ItemList(range(1, 200))
    np.testing.assert_array_equal(one(7, items).scores(), other(7, items).scores())
