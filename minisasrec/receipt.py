"""What a run's numbers follow from, in eight characters: `python -m minisasrec.receipt RUN`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from minisasrec.commands.cli import print_json, read_options, run_command
from minisasrec.learn.machine import MachineOptions, use_machine
from minisasrec.learn.receipt import Receipt
from minisasrec.terminal import show


@dataclass(frozen=True)
class ReceiptConfig:
    """Fingerprints of a run's data, settings, code, machine, weights and figures.

    Two people with the same first four should have the same weights and figures, bit for bit. The
    data file is not needed. It says what stands in a folder, not who wrote it: `evaluate` makes
    the figures again from the weights.
    """

    run: Path
    """Folder of the run, as `train` named it, or of `Recommender.save`."""
    other: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[OTHER]")] = None
    """Another folder to compare with, or the receipt of one that --json wrote to a file."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    json: bool = False
    """Print one JSON object instead of lines."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the receipt, and what differs from the other one."""
    options = read_options(ReceiptConfig, "receipt", argv)
    use_machine(options.machine)
    ours = Receipt.read(options.run)
    theirs = Receipt.read(options.other) if options.other else None
    if options.json:
        compared = theirs and {"other": theirs.to_json(), "compared": ours.compare(theirs)}
        print_json(ours.to_json() | (compared or {}))
        return
    if theirs is None:
        show(*(f"{part:8}  {digest}  {about}".rstrip() for part, digest, about in ours.lines()))
        return
    for (part, here, _), (_, there, _) in zip(ours.lines(), theirs.lines(), strict=True):
        show(f"{part:8}  {here}  {there}  {'same' if here == there else 'other'}")
    show("", ours.compare(theirs))


if __name__ == "__main__":
    sys.exit(run_command(main, None))
