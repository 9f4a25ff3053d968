"""Recommend items: `minisasrec recommend RUN --user 42`, `--items 12 7` or `--all-users`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from minisasrec.commands.cli import print_json, read_options, run_command
from minisasrec.commands.loading import check_out, check_users, load_recommender
from minisasrec.commands.tables import check_ending, read_ids, writing
from minisasrec.commands.titles import Titles
from minisasrec.data import DataWarning
from minisasrec.errors import ConfigError
from minisasrec.learn.machine import MachineOptions
from minisasrec.recommender import Recommender
from minisasrec.terminal import show

BLOCK = 4096  # users at a time
SHOWN = 5  # items of a history
REASONS = 3  # items of a history that are named as reasons


@dataclass(frozen=True)
class RecommendConfig:
    """The best next items for users, for a sequence of items, or for everybody into a file."""

    run: Path
    """Folder of the run, as `train` named it, or of `Recommender.save`."""
    user: tuple[str, ...] = ()
    """User ids: recommends what comes after everything that each of them did."""
    items: tuple[str, ...] = ()
    """Item ids, oldest first; no user is needed. Ids that begin with two dashes: --items=--ID."""
    history: tuple[str, ...] = ()
    """Titles, oldest first, such as "Toy Story; Alien"; case and small errors do not count."""
    all_users: bool = False
    """Recommend to every user; needs --out."""
    out: Path | None = None
    """File for the recommendations: .parquet, .csv or .jsonl."""
    k: int = 10
    """How many items to recommend."""
    candidates: Path | None = None
    """File of the item ids that may be recommended: one a line, or a table with a column item."""
    exclude: Path | None = None
    """File of item ids that may not be recommended."""
    keep_seen: bool = False
    """Recommend items of the history again, too; the same as --repeats allow."""
    repeats: Literal["auto", "allow", "forbid"] | None = None
    """Whether items of the history may be recommended again; by default the run's rule."""
    untrained: bool = False
    """Recommend items without a train action, too; their places mean nothing."""
    scores: bool = False
    """Show the score of each item (files and --json always have it)."""
    explain: bool = False
    """Say below each item which items of the history add most to its score."""
    scheduler: str | None = None
    """Address of a Dask scheduler that computes blocks of users, such as tcp://HOST:8786."""
    data_dir: Path | None = None
    """Read the data set's files from this folder, and not the histories that the run keeps."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    json: bool = False
    """Print one JSON array of recommendations instead of lines; with --out, an object about it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Recommend and print, or write a file."""
    options = read_options(RecommendConfig, "recommend", argv)
    _check(options)
    warnings.simplefilter("always", DataWarning)
    recommender = load_recommender(options.run, options.machine, options.data_dir)
    if options.out is not None:
        read = (options.candidates, options.exclude)
        check_out(options.out, options.run, recommender, read)
    asked = _asked(recommender, options)
    column = recommender.config.columns.item_column
    arguments: dict[str, Any] = {
        "k": options.k,
        "candidates": options.candidates and read_ids(options.candidates, column),
        "exclude": options.exclude and read_ids(options.exclude, column),
        "repeats": "allow" if options.keep_seen else options.repeats,
        "untrained": options.untrained,
    }
    if options.scheduler:
        from minisasrec.commands.cluster import recommend_on_cluster

        users = asked.get("users")
        users = recommender.user_ids if users is None else users
        tables = recommend_on_cluster(recommender, options.scheduler, users, BLOCK, **arguments)
    else:
        tables = recommender.recommend_in_blocks(**asked, **arguments, block=BLOCK)
    if options.explain:
        tables = _explained(recommender, asked, options)
    if options.out is not None:
        total = len(next(iter(asked.values()))) if asked else len(recommender.user_ids)
        _write(tables, options.out, total, options.json)
    elif options.json:
        print_json([row for table in tables for row in table.to_dict("records")])
    else:
        _print(recommender, asked, tables, options.scores)


def _check(options: RecommendConfig) -> None:
    ways = {
        "--user": options.user,
        "--items": options.items,
        "--history": options.history,
        "--all-users": options.all_users,
    }
    given = [way for way, value in ways.items() if value]
    if len(given) != 1:
        what = f"got {' and '.join(given)}" if given else "got none of them"
        raise ConfigError(
            f"give --user ID ..., --items ID ..., --history TITLES or --all-users; {what}"
        )
    if options.k < 1:
        raise ConfigError(f"--k is {options.k}; it must be at least 1")
    if options.keep_seen and options.repeats not in (None, "allow"):
        raise ConfigError(f"--keep-seen and --repeats {options.repeats} contradict each other")
    if options.all_users and options.out is None:
        raise ConfigError("--all-users needs --out FILE, ending in .parquet, .csv or .jsonl")
    if options.scheduler and not (options.user or options.all_users):
        raise ConfigError("--scheduler is for many users; add --all-users, or --user ID ...")
    if options.out is not None:
        check_ending(options.out)
    if options.explain:
        others = ("out", "scheduler", "candidates", "exclude", "untrained")
        if refused := [name for name in others if getattr(options, name)]:
            raise ConfigError(f"--explain goes without --{refused[0]}; leave one of them out")


def _asked(recommender: Recommender, options: RecommendConfig) -> dict[str, Any]:
    """Users or histories, as `Recommender.recommend` takes them; nothing for all users."""
    if options.items:
        return {"histories": [options.items]}
    if options.history:
        return {"histories": [Titles(recommender.known).history(options.history)]}
    check_users(recommender, options.user)
    return {"users": list(dict.fromkeys(options.user))} if options.user else {}


def _explained(
    recommender: Recommender, asked: dict[str, Any], options: RecommendConfig
) -> Iterator[Any]:
    """The tables of `recommend` with a column `because`: what each item of the history adds."""
    import pandas

    rule = "allow" if options.keep_seen else options.repeats
    for user in asked.get("users", [None]):
        history = None if user is not None else asked["histories"][0]
        found = recommender.explain(history, options.k, user=user, repeats=rule).table
        rows = []
        for rank, group in found.groupby("rank", sort=True):
            first = group.iloc[0]
            reasons = group.sort_values("adds", ascending=False, kind="stable")
            reasons = reasons[["past", "past_title", "adds"]]
            rows.append(
                {
                    **({"user": user} if user is not None else {"row": 0}),
                    **{name: first[name] for name in ("item", "title", "score")},
                    "rank": rank,
                    "because": reasons.set_axis(["item", "title", "adds"], axis=1).to_dict(
                        "records"
                    ),
                }
            )
        yield pandas.DataFrame(rows)


def _write(tables: Iterator[Any], out: Path, total: int, as_json: bool) -> None:
    from tqdm import tqdm

    done = 0
    with (
        tqdm(
            total=total, unit=" users", unit_scale=True, delay=2, leave=False, disable=None
        ) as bar,
        writing(out) as writer,
    ):
        for table in tables:
            writer.write(table)
            step = min(BLOCK, total - done)
            done += step
            bar.update(step)
    if as_json:
        print_json({"out": str(out), "users": total, "rows": writer.rows})
    else:
        show(f"{out}: {writer.rows:,} recommendations to {total:,} users")


def _print(
    recommender: Recommender, asked: dict[str, Any], tables: Iterator[Any], scores: bool
) -> None:
    """For each user or history what was last met, and the items, a line each."""
    histories = asked.get("histories") or [None] * len(asked["users"])
    users = asked.get("users") or [None]
    rows = [row for table in tables for row in table.to_dict("records")]
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(str(row.get("user", 0)), []).append(row)
    for place, (user, history) in enumerate(zip(users, histories, strict=True)):
        if place:
            print()
        if len(users) > 1:
            show(f"user {user}")
        show("after:  " + " | ".join(_last(recommender, user, history)))
        for row in found.get(str(user if user is not None else 0), []):
            score = f"{row['score']:9.4f}  " if scores else ""
            show(f"{row['rank']:4d}. {score}{row['title']}  [{row['item']}]")
            reasons = row.get("because", [])[:REASONS]
            if told := [f"{why['adds']:+.2f} {why['title']}" for why in reasons if why["adds"] > 0]:
                show(f"        because of {' | '.join(told)}")


def _last(recommender: Recommender, user: Any, history: Sequence[str] | None) -> list[str]:
    """The titles of the last items of a user or a history."""
    known = recommender.known
    if history is None:
        assert known.split is not None  # `check_users` has seen to it
        numbers = known.split.dataset.sequence(int(known.users.find([user])[0]))[-SHOWN:]
    else:
        numbers = known.items.find(history[-SHOWN:])
    return [known.shown_titles[number] for number in numbers]


if __name__ == "__main__":
    sys.exit(run_command(main, None))
