"""Recommenders, by the names that the command line uses."""

from __future__ import annotations

from minisasrec.models import fused as _fused  # noqa: F401  (attaches itself to SASRec)
from minisasrec.models.base import Model, SequenceModel
from minisasrec.models.bpr import BPR
from minisasrec.models.caser import Caser, CaserConfig
from minisasrec.models.factors import FactorConfig, FactorModel
from minisasrec.models.fmc import FMC
from minisasrec.models.fpmc import FPMC
from minisasrec.models.gru4rec import GRU4Rec, GRU4RecConfig, GRU4RecPlusConfig
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.models.simple import MarkovChain, Popularity, RecentConfig, RecentPopularity
from minisasrec.models.transrec import TransRec
from minisasrec.models.variants import SASRecVariant

__all__ = [
    "BPR",
    "FMC",
    "FPMC",
    "MODELS",
    "Caser",
    "CaserConfig",
    "FactorConfig",
    "FactorModel",
    "GRU4Rec",
    "GRU4RecConfig",
    "GRU4RecPlusConfig",
    "MarkovChain",
    "Popularity",
    "Model",
    "RecentConfig",
    "RecentPopularity",
    "SASRec",
    "SASRecConfig",
    "SASRecVariant",
    "SequenceModel",
    "TransRec",
]

# name -> class, and the section of `TrainConfig` with its settings ("" for a model without any)
MODELS: dict[str, tuple[type[Model], str]] = {
    "sasrec": (SASRec, "sasrec"),
    "bpr": (BPR, "factors"),
    "fmc": (FMC, "factors"),
    "fpmc": (FPMC, "factors"),
    "transrec": (TransRec, "factors"),
    "gru4rec": (GRU4Rec, "gru4rec"),
    "gru4rec+": (GRU4Rec, "gru4rec_plus"),
    "caser": (Caser, "caser"),
    "poprec": (Popularity, ""),
    "recentpop": (RecentPopularity, "recentpop"),
    "markov": (MarkovChain, ""),
}
