"""Items like others: `python -m minisasrec.similar RUN --items 12 7` or `--history "Toy Story"`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minisasrec.commands.cli import print_json, read_options, run_command
from minisasrec.commands.loading import load_recommender
from minisasrec.commands.titles import Titles
from minisasrec.data import DataWarning
from minisasrec.errors import ConfigError
from minisasrec.learn.machine import MachineOptions
from minisasrec.terminal import show


@dataclass(frozen=True)
class SimilarConfig:
    """The items whose vectors are most like those of the items named (cosine)."""

    run: Path
    """Folder of the run, as `train` named it, or of `Recommender.save`."""
    items: tuple[str, ...] = ()
    """Item ids."""
    history: tuple[str, ...] = ()
    """Titles, such as "Toy Story; Alien"."""
    k: int = 10
    """How many similar items for each."""
    data_dir: Path | None = None
    """Folder with the data set's files, for a run that keeps no items."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    json: bool = False
    """Print one JSON array instead of lines."""


def main(argv: Sequence[str] | None = None) -> None:
    """Find similar items and print them."""
    options = read_options(SimilarConfig, "similar", argv)
    if bool(options.items) == bool(options.history):
        raise ConfigError("give either --items ID ID ... or --history TITLES (not both)")
    if options.k < 1:
        raise ConfigError(f"--k is {options.k}; it must be at least 1")
    warnings.simplefilter("always", DataWarning)
    recommender = load_recommender(options.run, options.machine, options.data_dir)
    items = list(options.items) or Titles(recommender.known).history(options.history)
    rows = recommender.similar_items(items, options.k).to_dict("records")
    if options.json:
        print_json(rows)
        return
    known = recommender.known
    for place, number in enumerate(known.items.find(items)):
        if place:
            print()
        show(f"like:  {known.shown_titles[number]}")
        for row in rows:
            if str(row["item"]) == known.item_ids[number]:
                scored = f"{row['rank']:4d}. {row['score']:7.4f}"
                show(f"{scored}  {row['title']}  [{row['similar']}]")


if __name__ == "__main__":
    sys.exit(run_command(main, None))
