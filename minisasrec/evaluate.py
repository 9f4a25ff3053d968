"""Measure a trained model again: `python -m minisasrec.evaluate RUN`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from minisasrec.commands.cli import load_run, print_json, read_options, run_command
from minisasrec.commands.report import format_rows
from minisasrec.data.split import parse_rule
from minisasrec.errors import ConfigError
from minisasrec.experiments.final_rows import final_rows, users_drawn
from minisasrec.learn.evaluation import Protocol
from minisasrec.learn.known import NOTHING_HELD_OUT
from minisasrec.learn.machine import MachineOptions
from minisasrec.learn.runs import Run
from minisasrec.terminal import show


@dataclass(frozen=True)
class EvaluateConfig:
    """Rank the held-out items of a trained run's data with its best weights."""

    run: Path
    """Folder of the run, as `train` named it."""
    part: Literal["valid", "test"] = "test"
    """Which held-out items: those of the test part, or those of the validation part."""
    protocol: tuple[Protocol, ...] | None = None
    """sampled: against 100 sampled items. full: against the whole catalogue. authors: as the
    authors' released code does, flaws included, to compare with published numbers. By default
    sampled and full."""
    seed: int | None = None
    """Seed of the sampled candidates; by default the run's."""
    max_users: int | None = None
    """Users to evaluate, 0 = all; by default the run's."""
    split: str | None = None
    """The split of the run, which is also the default. Under another one the model would be
    measured on actions that it was trained on, so that is refused."""
    repeats: Literal["auto", "allow", "forbid"] | None = None
    """Whether items that a user has met are candidates; by default the run's rule. forbid: they
    are not, and a target that was met before counts as a miss."""
    data_dir: Path | None = None
    """Folder with the data set's files, if they have moved."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    json: bool = False
    """Print one JSON object instead of a table."""


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate and print."""
    options = read_options(EvaluateConfig, "evaluate", argv)
    options.machine.check()
    _check_held_out(options.run, options.split)
    _, config, split, model = load_run(
        options.run, options.machine, options.data_dir, options.repeats
    )
    if options.seed is not None:
        config = replace(config, seed=options.seed)
    if options.max_users is not None:
        config = replace(config, max_users=options.max_users)
    rows = final_rows(model, split, config, options.part, options.protocol)
    if options.json:
        result = {"run": str(options.run), "part": options.part, "rows": rows}
        print_json(result)
    else:
        whose = users_drawn(split, options.part, config.max_users)
        show(f"{split.dataset.name}, {options.part} part" + (f", {whose}" if whose else ""), "")
        print(format_rows(rows))


def _check_held_out(run: Path, rule: str | None) -> None:
    """Raise `ConfigError` if the run was trained on what it would be measured on."""
    config, facts = Run.open(run).settings()
    if facts.get("known", {}).get("on") == "everything":
        raise ConfigError(f"{run}: {NOTHING_HELD_OUT}")
    if rule is not None and parse_rule(rule) != parse_rule(config.split):
        raise ConfigError(
            f"--split is {rule}, but {run} was trained with {config.split}: it may have been "
            "trained on what it would be measured on; train a run with that --split"
        )


if __name__ == "__main__":
    sys.exit(run_command(main, None))
