"""The picture and the second table of docs/splits.md.

python docs/splits.py                       draws docs/plots/splits.svg
python docs/splits.py ml-100k shop.csv      how much of the train part is later than the targets
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np

from minisasrec import load_dataset
from minisasrec.data import DataWarning, Split, build_dataset, leave_one_out, time_split

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402  (after the choice of how to draw)

PICTURE = Path(__file__).parent / "plots" / "splits.svg"
USERS = {  # three users and the times of their actions, in days
    "Ann": (1, 2, 4, 5, 7),
    "Ben": (3, 9, 12, 15, 18, 19.5),
    "Cleo": (6, 8, 10.5, 13, 16.4, 17.5),
}
KINDS = {  # what an action is for: colour, marker
    "trained on": ("#4477aa", "o"),
    "validation target": ("#ccaa00", "D"),
    "test target": ("#cc3311", "s"),
    "history of the test target only": ("#66ccee", "o"),
    "not used": ("#bbbbbb", "o"),
}


def kinds(split: Split, u: int) -> list[str]:
    """What each action of user u is for."""
    found = []
    for at in range(split.dataset.offsets[u], split.dataset.offsets[u + 1]):
        if at < split.train_end[u]:
            found.append("trained on")
        elif at in (split.valid_at[u], split.test_at[u]):
            found.append("test target" if at == split.test_at[u] else "validation target")
        else:
            found.append("history of the test target only" if at < split.test_at[u] else "not used")
    return found


def draw() -> None:
    actions = [(user, f"{user}{i}", t) for user, own in USERS.items() for i, t in enumerate(own)]
    dataset = build_dataset(*zip(*actions, strict=True), min_actions=0)
    by_time = time_split(dataset, 0.8)
    assert dataset.times is not None
    moments = [dataset.times[at[at >= 0]].min() for at in (by_time.valid_at, by_time.test_at)]
    splits = {"leave-one-out": leave_one_out(dataset), "--split time:0.8": by_time}
    pyplot.rcParams.update({"svg.hashsalt": "splits", "svg.fonttype": "none", "font.size": 9})
    figure, axes = pyplot.subplots(2, 1, figsize=(7.5, 4.4), sharex=True, layout="constrained")
    for ax, (title, split) in zip(axes, splits.items(), strict=True):
        for u in range(dataset.num_users):
            own = slice(dataset.offsets[u], dataset.offsets[u + 1])
            times = dataset.times[own]
            ax.plot(times[[0, -1]], [u, u], color="#dddddd", zorder=1)
            for t, kind in zip(times, kinds(split, u), strict=True):
                colour, marker = KINDS[kind]
                ax.scatter(t, u, color=colour, marker=marker, s=55, zorder=2)
        ax.set(title=title, yticks=range(3), yticklabels=dataset.user_ids, ylim=(2.6, -0.6))
        ax.spines[["top", "right", "left"]].set_visible(False)
    ann = dataset.times[splits["leave-one-out"].test_at[0]]
    axes[0].axvspan(ann, 20, color="#cc3311", alpha=0.09, lw=0)
    axes[0].text(ann + 0.2, -0.25, "all in this area is later than Ann's test target", fontsize=8)
    for moment, name in zip(moments, ("validation moment", "test moment"), strict=True):
        axes[1].axvline(moment, color="black", lw=1, ls="--")
        axes[1].text(moment + 0.1, -0.25, name, fontsize=8)
    axes[1].set(xlabel="day", xticks=range(0, 21, 5))
    handles = [
        pyplot.Line2D([], [], color=colour, marker=marker, ls="", label=kind)
        for kind, (colour, marker) in KINDS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(PICTURE, metadata={"Date": None})


def leaks(name: str) -> None:
    dataset = load_dataset(name, progress=False)
    for split in (leave_one_out(dataset), time_split(dataset)):
        at, times = split.test_at[split.eval_users("test")], dataset.times
        assert times is not None
        place, ends = np.arange(dataset.num_actions), split.train_end
        trained = np.sort(times[place < np.repeat(ends, np.diff(dataset.offsets))])
        later = 1 - np.searchsorted(trained, times[at], side="right") / len(trained)
        same = np.mean(times[at] == times[at - 1])
        print(
            f"{dataset.name}, {split.rule}: {len(at):,} test targets; of the train part "
            f"{later.mean():.1%} is later than the target, on average; {same:.1%} of the targets "
            "have the same time as the action before"
        )


if __name__ == "__main__":
    warnings.simplefilter("ignore", DataWarning)
    for data in sys.argv[1:]:
        leaks(data)
    if not sys.argv[1:]:
        draw()
