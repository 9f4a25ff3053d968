"""Recommend items: `python -m minisasrec.recommend RUN --user 42` or `--items 12 7 99`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from minisasrec.commands.cli import load_run, read_options, run_command
from minisasrec.data.split import Split
from minisasrec.errors import ConfigError, DataError
from minisasrec.learn.machine import MachineOptions
from minisasrec.learn.recommendation import top_items
from minisasrec.models.base import NOBODY
from minisasrec.terminal import show


@dataclass(frozen=True)
class RecommendConfig:
    """The best next items for a user of the data set, or for any sequence of its items."""

    run: Path
    """Folder of the run, as `train` named it."""
    user: str | None = None
    """A user id of the data set: recommends what comes after everything he or she did."""
    items: tuple[str, ...] = ()
    """Item ids of the data set, oldest first; no user is needed."""
    k: int = 10
    """How many items to recommend."""
    repeats: Literal["auto", "allow", "forbid"] | None = None
    """Whether items of the history may be recommended again; by default the run's rule."""
    data_dir: Path | None = None
    """Folder with the data set's files, if they have moved."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    json: bool = False
    """Print one JSON object instead of lines."""


def find_items(split: Split, names: Sequence[str]) -> list[int]:
    """Item numbers of the data set's item ids. Raises `DataError` for one that it lacks."""
    number = {name: i for i, name in enumerate(split.dataset.item_ids) if i}
    unknown = [name for name in names if name not in number]
    if unknown:
        some = ", ".join(list(number)[:5])
        raise DataError(
            f"no item {unknown[0]!r} in {split.dataset.name}; item ids look like {some}"
        )
    return [number[name] for name in names]


def main(argv: Sequence[str] | None = None) -> None:
    """Recommend and print."""
    options = read_options(RecommendConfig, "recommend", argv)
    if (options.user is None) == (not options.items):
        raise ConfigError("give either --user ID or --items ID ID ... (not both)")
    if options.k < 1:
        raise ConfigError(f"--k is {options.k}; it must be at least 1")
    _, _, split, model = load_run(options.run, options.machine, options.data_dir, options.repeats)
    user = NOBODY
    if options.user is None:
        history = find_items(split, options.items)
    else:
        users = list(split.dataset.user_ids)
        if options.user not in users:
            some = ", ".join(users[:5])
            raise DataError(
                f"no user {options.user!r} in {split.dataset.name}; user ids look like {some}"
            )
        user = users.index(options.user)
        history = split.dataset.sequence(user).tolist()
    best = top_items(model, history, options.k, user=user, repeats=split.repeats)
    ids, title = split.dataset.item_ids, split.dataset.title
    if options.json:
        print(json.dumps([{"item": ids[i], "title": title(i)} for i in best]))
        return
    show("after:  " + " | ".join(title(i) for i in history[-5:]))
    for place, item in enumerate(best, start=1):
        show(f"{place:4d}. {title(item)}  [{ids[item]}]")


if __name__ == "__main__":
    sys.exit(run_command(main, None))
