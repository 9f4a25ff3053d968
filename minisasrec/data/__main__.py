"""`python -m minisasrec.data NAME`: what a data set holds, as `docs/datasets.md` quotes it."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from minisasrec.data import DATASETS, DataWarning, leave_one_out, load_dataset
from minisasrec.data.dataset import FILTERS, REPEATS


def main(argv: Sequence[str] | None = None) -> None:
    """Print statistics, source and warnings."""
    parser = argparse.ArgumentParser(
        prog="python -m minisasrec.data",
        description="Print what a data set holds: counts, source, warnings, fingerprint.",
    )
    parser.add_argument("data", help=f"{', '.join(DATASETS)}, or a file or folder")
    parser.add_argument("--data-dir", help="folder of data sets (default: MINISASREC_DATA_DIR)")
    for column in ("user", "item", "time", "title"):
        parser.add_argument(f"--{column}-column", help=f"of a table of your own, with the {column}")
    parser.add_argument("--min-actions", type=int, help="of a user or item, to be kept")
    parser.add_argument(
        "--repeats", choices=REPEATS, default="auto", help="whether met items may come again"
    )
    parser.add_argument("--filter", choices=FILTERS, help="how often --min-actions is applied")
    options = vars(parser.parse_args(argv))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        dataset = load_dataset(options.pop("data"), **options)
        told = [str(w.message).removeprefix(f"{dataset.name}: ") for w in caught]
        split = leave_one_out(dataset)  # what it warns of is told below
    statistics = dataset.statistics()
    train = split.num_train_actions
    notes = dict.fromkeys([*dataset.warnings, *told])
    print(f"name          {dataset.name}")
    print(f"all           {statistics}")
    print(
        f"train part    {train:,} actions; {train / statistics.users:.1f} actions/user, "
        f"{train / statistics.items:.1f} actions/item"
    )
    print(f"evaluated     {len(split.eval_users('test')):,} users")
    valid, test = (split.repeat_share(part) for part in ("valid", "test"))
    chosen = " (auto)" if dataset.repeats == "auto" else ""
    print(
        f"repeats       {split.repeats}{chosen}; {valid:.2%} of the validation targets and "
        f"{test:.2%} of the test targets were met before"
    )
    print(f"source        {dataset.source}")
    for note in notes:
        print(f"note          {note}")
    print(f"fingerprint   {dataset.fingerprint()}")


if __name__ == "__main__":
    from minisasrec.commands.cli import run_command

    sys.exit(run_command(main, None))
