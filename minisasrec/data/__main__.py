"""`python -m minisasrec.data NAME`: what a data set holds, as `docs/datasets.md` quotes it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from minisasrec.commands.cli import print_json, read_options, run_command
from minisasrec.commands.understood import understood
from minisasrec.data import DATASETS, Dataset, DataWarning, Split, load_dataset, make_split
from minisasrec.data.options import ReadingOptions
from minisasrec.data.split import LEAVE_ONE_OUT
from minisasrec.errors import ConfigError
from minisasrec.learn.machine import MachineOptions, use_machine
from minisasrec.terminal import show


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
    """Show what was understood, too: which column is what, and the first sequences."""
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
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        dataset = load_dataset(
            options.data,
            data_dir=options.data_dir,
            repeats=options.repeats,
            **options.columns.given(),
        )
        split = make_split(dataset, options.split)
        told = [str(w.message).removeprefix(f"{dataset.name}: ") for w in caught]
        told = [text for text in told if text != split.repeats_note()]  # the line `repeats` below
    facts = describe(dataset, split)
    notes = list(dict.fromkeys([*dataset.warnings, *told]))
    if options.json:
        print_json({**facts, "notes": notes})
        return
    statistics, repeats = dataset.statistics(), facts["repeats"]
    show(f"name          {dataset.name}")
    show(f"all           {statistics}")
    show(
        f"train part    {facts['train_actions']:,} actions; "
        f"{facts['train_actions'] / statistics.users:.1f} actions/user, "
        f"{facts['train_actions'] / statistics.items:.1f} actions/item"
    )
    show(f"evaluated     {facts['evaluated_users']:,} users")
    chosen = " (auto)" if dataset.repeats == "auto" else ""
    show(
        f"repeats       {repeats['rule']}{chosen}; {repeats['valid']:.2%} of the validation "
        f"targets and {repeats['test']:.2%} of the test targets were met before"
    )
    show(f"source        {dataset.source}")
    for line in understood(dataset) if options.dry_run else []:
        show(line)
    for note in notes:
        show(f"note          {note}")
    show(f"fingerprint   {facts['fingerprint']}")


def describe(dataset: Dataset, split: Split) -> dict[str, Any]:
    """What `--json` says of a data set; the lines that are printed say the same."""
    return {
        "name": dataset.name,
        **vars(dataset.statistics()),
        "train_actions": split.num_train_actions,
        "evaluated_users": len(split.eval_users("test")),
        "repeats": {
            "rule": split.repeats,
            "valid": split.repeat_share("valid"),
            "test": split.repeat_share("test"),
        },
        "source": dataset.source,
        "fingerprint": dataset.fingerprint(),
    }


if __name__ == "__main__":
    sys.exit(run_command(main, None))
