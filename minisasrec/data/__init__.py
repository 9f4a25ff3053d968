"""Data sets: registry and download, readers of real formats, the split, batches."""

from minisasrec.data.dataset import (
    Dataset,
    DataWarning,
    Statistics,
    build_dataset,
)
from minisasrec.data.registry import DATASETS, load_dataset
from minisasrec.data.split import Split, leave_one_out, make_split, time_split

__all__ = [
    "DATASETS",
    "DataWarning",
    "Dataset",
    "Split",
    "Statistics",
    "build_dataset",
    "leave_one_out",
    "load_dataset",
    "make_split",
    "time_split",
]
