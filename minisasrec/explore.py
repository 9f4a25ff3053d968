"""A trained SASRec as one web page: `python -m minisasrec.explore RUN --open`."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minisasrec.commands.cli import print_json, read_options, run_command
from minisasrec.commands.loading import load_recommender
from minisasrec.errors import ConfigError
from minisasrec.explorer import write
from minisasrec.explorer.pages import Beside, Weights
from minisasrec.learn.machine import MachineOptions
from minisasrec.terminal import say, show

PAGE = "explore.html"


@dataclass(frozen=True)
class ExploreConfig:
    """Write one HTML file in which a trained SASRec answers and is explained; it works offline."""

    run: Path
    """Folder of the run, as `train` named it, or of `Recommender.save`."""
    out: Path | None = None
    """The file to write; by default explore.html in the folder of the run."""
    open: bool = False
    """Open it in the browser."""
    beside: str = "untrained"
    """A second model to compare with: untrained (the same one before its training), none, or the
    folder of another run on the same data. It makes the file twice as large."""
    weights: Weights = "float32"
    """float32: the scores of the package. float16: half the size, scores rounded."""
    examples: int = 8
    """Histories of so many real users to begin with, without their ids. 0: the page says nothing
    about any user."""
    data_dir: Path | None = None
    """Folder with the data set's files, for a run that keeps no items."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    json: bool = False
    """Print one JSON object about the file instead of lines."""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page, say where it is, open it."""
    options = read_options(ExploreConfig, "explore", argv)
    recommender = load_recommender(options.run, options.machine, options.data_dir)
    out = options.run / PAGE if options.out is None else options.out
    if out.is_dir():
        raise ConfigError(
            f"--out is {out}, a folder; give the name of a file, such as {out / PAGE}"
        )
    beside: Beside = options.beside
    if options.beside not in ("untrained", "none"):
        if not options.beside or not Path(options.beside).exists():
            raise ConfigError(
                f"--beside is {options.beside}; give untrained, none or the folder of another run"
            )
        beside = load_recommender(Path(options.beside), options.machine, options.data_dir)
    path = write(
        recommender, out, beside=beside, weights=options.weights, examples=options.examples
    )
    size = path.stat().st_size
    if options.json:
        print_json({"out": str(out), "bytes": size})
    else:
        show(f"{out}: {size / 1e6:.1f} MB; open it in a browser, no network is needed")
    if options.open and not webbrowser.open(path.as_uri()):
        say(f"note: no browser was found; open {path}")


if __name__ == "__main__":
    sys.exit(run_command(main, None))
