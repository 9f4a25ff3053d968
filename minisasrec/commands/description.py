"""What a data set holds and how its file was understood: for `data`, and for `train --dry-run`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minisasrec.data import Dataset, DataWarning, Split, load_dataset, make_split
from minisasrec.data.dataset import Repeats
from minisasrec.data.options import ReadingOptions
from minisasrec.data.split import show_time
from minisasrec.terminal import show

SHOWN_USERS = 3
SHOWN_ACTIONS = 5  # of each of these users, the oldest


@dataclass(frozen=True)
class Description:
    """A data set that was read, split, and what is to be said of it."""

    split: Split
    notes: list[str]

    @property
    def dataset(self) -> Dataset:
        """The data set."""
        return self.split.dataset

    def facts(self) -> dict[str, Any]:
        """What `--json` says; `show` says the same."""
        dataset, split = self.dataset, self.split
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
            "notes": self.notes,
        }

    def understood(self) -> dict[str, Any]:
        """What `--dry-run --json` says, too: columns, formats, the first sequences."""
        dataset = self.dataset
        sequences = []
        for u in range(min(SHOWN_USERS, dataset.num_users)):
            first = int(dataset.offsets[u])
            actions = []
            for at, i in enumerate(dataset.sequence(u)[:SHOWN_ACTIONS].tolist(), first):
                action: dict[str, Any] = {"item": dataset.item_ids[i]}
                if dataset.titles is not None:
                    action["title"] = dataset.titles[i]
                if dataset.times is not None:
                    action["time"] = dataset.times[at].item()
                actions.append(action)
            length = len(dataset.sequence(u))
            sequences.append({"user": dataset.user_ids[u], "length": length, "actions": actions})
        return {"reading": dict(dataset.reading), "sequences": sequences}

    def show(self) -> None:
        """Print the facts, a line for each."""
        dataset, facts = self.dataset, self.facts()
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
        for note in self.notes:
            show(f"note          {note}")
        show(f"fingerprint   {facts['fingerprint']}")

    def show_understood(self) -> None:
        """Print what was understood: columns and formats, and the first sequences, oldest first."""
        told = self.understood()
        show("", "how it was read")
        for what, value in told["reading"].items():
            show(f"  {what:11} {value}")
        times = self.dataset.times
        for sequence in told["sequences"]:
            show("", f"user {sequence['user']}: {sequence['length']:,} actions")
            for action in sequence["actions"]:
                when = "" if times is None else f"{show_time(times, action['time'])}  "
                title = action.get("title", action["item"])
                named = f"  {title}" if title != action["item"] else ""
                show(f"  {when}{action['item']}{named}")
            if sequence["length"] > len(sequence["actions"]):
                show("  ...")


def describe(
    data: str,
    *,
    data_dir: Path | None,
    columns: ReadingOptions,
    repeats: Repeats,
    split: str,
) -> Description:
    """Read and split a data set; what would be warnings are notes of the description."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        dataset = load_dataset(
            data,
            data_dir=data_dir,
            download=data_dir is None,
            repeats=repeats,
            **columns.given(),
        )
        made = make_split(dataset, split)
        told = [str(w.message).removeprefix(f"{dataset.name}: ") for w in caught]
        told = [text for text in told if text != made.repeats_note()]  # the line `repeats`
    return Description(made, list(dict.fromkeys([*dataset.warnings, *told])))
