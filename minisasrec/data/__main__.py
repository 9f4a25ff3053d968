"""`python -m minisasrec.data NAME`: what a data set holds, as `docs/datasets.md` quotes it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from minisasrec.commands.cli import print_json, read_options, run_command
from minisasrec.commands.description import describe
from minisasrec.data import DATASETS
from minisasrec.data.options import ReadingOptions
from minisasrec.data.split import LEAVE_ONE_OUT
from minisasrec.errors import ConfigError
from minisasrec.learn.machine import MachineOptions, use_machine


@dataclass(frozen=True)
class DataConfig:
    """Print what a data set holds: counts, source, warnings, fingerprint."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = ""
    """The path of a file or folder, or the name of a public data set."""
    data_dir: Path | None = None
    """Folder that holds the data sets' files already; by default $MINISASREC_DATA_DIR."""
    columns: ReadingOptions = field(default_factory=ReadingOptions)
    """How a log of your own is read."""
    repeats: Literal["auto", "allow", "forbid"] = "auto"
    """Whether items that a user has met may come again."""
    split: str = LEAVE_ONE_OUT
    """What is trained on and what is held out: leave-one-out, or time:0.9, as for train."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    dry_run: bool = False
    """Show, too, how the file was understood: the columns taken and those left, separator,
    encoding, how times are written, and the first actions of three users."""
    json: bool = False
    """Print one JSON object instead of lines."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print statistics, source and warnings."""
    options = read_options(DataConfig, "data", argv)
    use_machine(options.machine)
    if not options.data:
        raise ConfigError(
            "give the path of a file, or the name of a public data set: "
            f"{', '.join(DATASETS)} (minisasrec datasets lists them)"
        )
    found = describe(
        options.data,
        data_dir=options.data_dir,
        columns=options.columns,
        repeats=options.repeats,
        split=options.split,
    )
    if options.json:
        print_json({**found.facts(), **(found.understood() if options.dry_run else {})})
        return
    found.show()
    if options.dry_run:
        found.show_understood()


if __name__ == "__main__":
    sys.exit(run_command(main, None))
