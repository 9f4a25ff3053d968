"""A `Recommender` as a scorer of LensKit, to be compared with its models in its pipelines.

    from lenskit.pipeline import topn_pipeline
    from minisasrec.lenskit import SequentialScorer

    pipeline = topn_pipeline(SequentialScorer(model="sasrec", settings={"epochs": 20}))
    pipeline.train(dataset)

Needs LensKit: `pip install "minisasrec[lenskit]"`, with Python 3.11 or newer.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lenskit.data import Dataset, ItemList, QueryInput, RecQuery
from lenskit.pipeline import Component
from lenskit.training import Trainable, TrainingOptions

from minisasrec.data.dataset import DataWarning
from minisasrec.errors import DataError
from minisasrec.recommender import Recommender


@dataclass
class SequentialConfig:
    """What a `SequentialScorer` is made with."""

    model: str = "sasrec"
    """A name that `train --model` takes."""
    seed: int = 0
    """Everything random follows from this number."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Further settings of a `Recommender`: epochs, d, n, ..."""
    on: str = "everything"
    """everything: all that LensKit gives is trained on, since LensKit has split it before; first
    the number of epochs is chosen on each user's last actions. train: those are left out."""


class SequentialScorer(Component[ItemList], Trainable):
    """Scores items as what a user does next.

    A user who was trained on has the history of the training data, in time order. Anybody else has
    the items of the query, in order of their field `timestamp` or, without one, as they stand.
    Items of the session come last. Items that are not known, and all items for somebody without a
    history, have the score NaN.
    """

    config: SequentialConfig
    recommender_: Recommender

    def train(self, data: Dataset, options: TrainingOptions | None = None) -> None:
        """Fit a new recommender to the interactions. Without timestamps, their order counts."""
        options = options or TrainingOptions()
        if hasattr(self, "recommender_") and not options.retrain:
            return
        frame = data.interaction_table(format="pandas", original_ids=True)
        time = "timestamp" if "timestamp" in frame.columns else None
        columns: dict[str, Any] = {"user": "user_id", "item": "item_id", "time": time}
        config = self.config
        recommender = Recommender(config.model, seed=config.seed, **config.settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            on: Any = config.on
            recommender.fit(frame, **columns, on=on, min_actions=0, progress=False)
        self.recommender_ = recommender

    def __call__(self, query: QueryInput, items: ItemList) -> ItemList:
        """The items with their scores."""
        query = RecQuery.create(query)
        history: list[Any] = []
        user = self._known_user(query.user_id)
        if user is None and query.history_items is not None:
            history = _in_time_order(query.history_items)
        if query.session_items is not None:
            history += query.session_items.ids().tolist()
        if not len(items):
            return ItemList(items, scores=np.zeros(0, np.float32))
        scores = self.recommender_.scores(items.ids().tolist(), history, user=user)
        return ItemList(items, scores=scores)

    def _known_user(self, user: Any) -> Any:
        """The id, or None for somebody who was not trained on."""
        if user is None:
            return None
        try:
            return user if self.recommender_.known.users.find([user])[0] >= 0 else None
        except DataError:  # bytes, which LensKit allows
            return None


def _in_time_order(items: ItemList) -> list[Any]:
    times = items.field("timestamp")
    ids = items.ids()
    return (ids if times is None else ids[np.argsort(times, kind="stable")]).tolist()
