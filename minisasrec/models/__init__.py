"""Recommenders, by the names that the command line uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minisasrec.models.base import Recommender, SequenceModel
from minisasrec.models.sasrec import SASRec, SASRecConfig
from minisasrec.models.simple import MarkovChain, Popularity

if TYPE_CHECKING:
    from minisasrec.config import TrainConfig
    from minisasrec.data.split import Split

__all__ = [
    "MarkovChain",
    "Popularity",
    "Recommender",
    "SASRec",
    "SASRecConfig",
    "SequenceModel",
    "make_model",
]


def make_model(config: TrainConfig, split: Split) -> Recommender:
    """The model that a configuration names, untrained if it is one that trains."""
    if config.model == "poprec":
        return Popularity(split)
    if config.model == "markov":
        return MarkovChain(split)
    return SASRec(split.dataset.num_items, config.sasrec, seed=config.seed)
