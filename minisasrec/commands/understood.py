"""What `--dry-run` shows: which column is what, and the first sequences, before anything is run."""

from __future__ import annotations

from minisasrec.data import Dataset
from minisasrec.terminal import printable

USERS = 3  # whose sequences are shown
ITEMS = 8  # of each


def understood(dataset: Dataset) -> list[str]:
    """Lines about how the source was read, and the first sequences of the first users."""
    lines = [f"{what:14}{printable(how)}" for what, how in dataset.reading.items()]
    if len(dataset.dropped):
        lines.append(f"{'dropped':14}{len(dataset.dropped):,} users, by the filter")
    for u in range(min(USERS, dataset.num_users)):
        items = dataset.sequence(u).tolist()
        shown = [dataset.item_ids[i] for i in items[:ITEMS]]
        if dataset.titles is not None:
            shown = [f"{i} ({dataset.titles[n]})" for i, n in zip(shown, items, strict=False)]
        more = ", ..." if len(items) > ITEMS else ""
        text = f"{dataset.user_ids[u]}: {', '.join(shown)}{more} ({len(items)} actions)"
        lines.append(f"{'first users' if u == 0 else '':14}{printable(text)}")
    return lines
