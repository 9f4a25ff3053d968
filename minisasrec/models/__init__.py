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
    "MODELS",
    "MarkovChain",
    "Popularity",
    "Recommender",
    "SASRec",
    "SASRecConfig",
    "SequenceModel",
    "make_model",
]

# name -> class, and the section of `TrainConfig` with its settings ("" for a model without any)
MODELS: dict[str, tuple[type[Recommender], str]] = {
    "sasrec": (SASRec, "sasrec"),
    "poprec": (Popularity, ""),
    "markov": (MarkovChain, ""),
}


def make_model(config: TrainConfig, split: Split) -> Recommender:
    """The model that a configuration names, untrained if it is one that trains."""
    model, section = MODELS[config.model]
    return model.for_split(split, getattr(config, section) if section else None, config.seed)
