"""The split by time, and recent popularity: by hand, against plain loops, and end to end."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import warnings
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisasrec import Recommender
from minisasrec.commands.cli import run_command
from minisasrec.commands.report import example_recommendations
from minisasrec.data import (
    Dataset,
    DataWarning,
    build_dataset,
    leave_one_out,
    load_dataset,
    make_split,
    time_split,
)
from minisasrec.data import split as split_module
from minisasrec.data.split import Split, units_per_day
from minisasrec.errors import ConfigError, DataError
from minisasrec.learn.config import from_json, make_model
from minisasrec.learn.evaluation import Evaluator, evaluate, negatives_left, usual_protocols
from minisasrec.learn.fit import fit
from minisasrec.models import Popularity, RecentConfig, RecentPopularity
from minisasrec.models.base import Model

Action = tuple[str, str, float]  # user, item, time
NEW_YEAR = 1_577_836_800  # 2020-01-01 in seconds
DAY = 86_400


def log(actions: list[Action], **changes: Any) -> Dataset:
    users, items, times = zip(*actions, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return build_dataset(users, items, np.array(times), min_actions=0, name="log", **changes)


def split_of(dataset: Dataset, share: float = 0.9) -> Split:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return time_split(dataset, share)


def names(dataset: Dataset, items: Any) -> list[str]:
    return [dataset.item_ids[i] for i in items]


SHOP: list[Action] = [  # ten actions: t_test is 8 (.8 * 10 before), t_valid 6 (.8 * 8 = 6.4)
    ("ann", "tea", 0),
    ("ann", "cup", 1),
    ("ann", "jam", 6),
    ("ann", "pot", 8),
    ("bob", "tea", 2),
    ("bob", "jam", 3),
    ("bob", "cup", 9),
    ("cat", "cup", 4),
    ("cat", "tea", 5),
    ("cat", "pot", 7),
]


def test_by_hand() -> None:
    dataset = log(SHOP)
    with pytest.warns(DataWarning) as told:
        split = time_split(dataset, 0.8)
    ann, bob, cat = range(3)
    assert [names(dataset, split.train_sequence(u)) for u in (ann, bob, cat)] == [
        ["tea", "cup"],
        ["tea", "jam"],
        ["cup", "tea"],
    ]
    assert names(dataset, split.valid) == ["jam", "<pad>", "pot"]  # bob comes too late for it
    assert names(dataset, split.test) == ["pot", "cup", "<pad>"]
    assert split.eval_users("valid").tolist() == [ann, cat]
    assert split.eval_users("test").tolist() == [ann, bob]
    assert names(dataset, split.history(ann, "valid")) == ["tea", "cup"]
    assert names(dataset, split.history(ann, "test")) == ["tea", "cup", "jam"]
    assert names(dataset, split.history(bob, "test")) == ["tea", "jam"]
    assert names(dataset, split.history(cat, "test")) == ["cup", "tea"]  # no target: the train part
    assert np.shares_memory(split.history(ann, "test"), dataset.items)
    by_name = dict(zip(dataset.item_ids, split.popularity(), strict=True))
    assert by_name == {"<pad>": 0, "cup": 2, "jam": 1, "pot": 0, "tea": 3}
    assert split.num_train_actions == 6 and split.rule == "time:0.8"
    assert names(dataset, np.flatnonzero(split.catalogue)) == ["cup", "jam", "tea"]
    assert (split.out_of_reach("valid"), split.out_of_reach("test")) == (1, 1)  # both pots
    texts = [str(w.message) for w in told]
    assert texts[0] == (
        "log: time:0.8: trained on 60.0% of the actions, those before 6; validated on what 2 users "
        "do next before 8, tested on what 2 users do next from then on"
    )
    assert texts[1] == (
        "log: 0 users first come in the test period: they have no history and are not tested; 1 "
        "validation and 1 test targets are items without a train action and count as misses: "
        "nobody can reach a test HR above 0.5000"
    )
    assert len(texts) == 2


def test_users_and_ties_at_the_moment() -> None:
    """All actions of one time fall on the same side, and who comes later has no target."""
    actions: list[Action] = [("a", str(i), i) for i in range(6)]
    actions += [("b", "1", 2), ("b", "2", 6), ("b", "3", 6), ("c", "4", 6), ("d", "5", 6)]
    with pytest.warns(DataWarning) as told:
        split = time_split(log(actions), 0.9)  # 9.9 of 11 would fall between equal times
    assert "2 users first come in the test period" in str(told[1].message)
    assert split.test.tolist() == [0, split.dataset.item_ids.index("2"), 0, 0]
    assert split.num_train_actions == 6  # of seven actions before 6, those before 5 (6.3)
    assert names(split.dataset, split.valid) == ["5", "<pad>", "<pad>", "<pad>"]


def by_loops(actions: list[Action], share: float) -> dict[str, Any] | None:
    """The rules of `time_split`, one sentence at a time; None where a part would be empty."""
    stamps, exact = sorted(t for _, _, t in actions), Fraction(str(share))

    def moment(times: list[float]) -> float | None:
        fits = [t for t in times if 0 < sum(s < t for s in times) <= exact * len(times)]
        return max(fits, default=None)

    t_test = moment(stamps)
    t_valid = None if t_test is None else moment([t for t in stamps if t < t_test])
    if t_valid is None:
        return None
    found: dict[str, Any] = {"train": {}, "valid": {}, "test": {}}
    for user in sorted({u for u, _, _ in actions}, key=int):
        own = sorted((a for a in actions if a[0] == user), key=lambda a: a[2])
        found["train"][user] = [i for _, i, t in own if t < t_valid]
        for part, start, end in (("valid", t_valid, t_test), ("test", t_test, np.inf)):
            history = [i for _, i, t in own if t < start]
            later = [a for a in own if a[2] >= start]
            if history and later and later[0][2] < end:
                found[part][user] = (history, later[0][1])
    return found if found["valid"] and found["test"] else None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 12)), min_size=2, max_size=40
    ),
    st.sampled_from([0.2, 0.29, 0.5, 0.7, 0.8, 0.9]),
)
def test_against_plain_loops(rows: list[tuple[int, int, int]], share: float) -> None:
    actions: list[Action] = [(str(u), str(i), t) for u, i, t in rows]
    dataset, expected = log(actions), by_loops(actions, share)
    if expected is None:
        why = "no time splits|less than one action|no user acts both before and after"
        with pytest.raises(DataError, match=why):
            split_of(dataset, share)
        return
    split = split_of(dataset, share)
    for part in ("valid", "test"):
        users = split.eval_users(part)
        assert {
            dataset.user_ids[u]: (
                names(dataset, split.history(int(u), part)),
                dataset.item_ids[split.targets(part)[u]],
            )
            for u in users
        } == expected[part]
        met = [dataset.user_ids[u] for u in np.flatnonzero(split.met_before(part))]
        assert met == [u for u, (history, item) in expected[part].items() if item in history]
    train = {u: names(dataset, split.train_sequence(i)) for i, u in enumerate(dataset.user_ids)}
    assert train == expected["train"]
    counted = split.popularity()
    for item, name in enumerate(dataset.item_ids):
        assert counted[item] == sum(seen.count(name) for seen in train.values())
    assert split.catalogue.tolist() == (counted > 0).tolist()


def test_blocks_of_users_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = log(SHOP)
    whole = split_of(dataset, 0.8)
    monkeypatch.setattr(split_module, "ACTIONS_AT_ONCE", 3)
    assert whole.popularity().tolist() == split_of(dataset, 0.8).popularity().tolist()
    assert whole.popularity(since=3).tolist() == [0, 1, 1, 0, 1]  # cup at 4, jam at 3, tea at 5


@pytest.mark.parametrize("rule", ["time", "time:", "time:1", "time:0", "time:nan", "last"])
def test_rules_that_are_none(rule: str) -> None:
    with pytest.raises(ConfigError, match="choose leave-one-out, or time:SHARE"):
        make_split(log(SHOP), rule)
    with pytest.raises(ConfigError, match="choose leave-one-out, or time:SHARE"):
        from_json({"split": rule})


def test_a_share_is_the_number_that_is_written() -> None:
    """0.7 * 90 is 62.99... as floats, 0.29 * 100 is 28.99...: one action too few."""
    for share, actions, before in ((0.7, 90, 63), (0.29, 100, 29)):
        dataset = log([(str(k % 2), str(k % 5), k) for k in range(actions)])
        assert dataset.times is not None
        assert dataset.times[split_of(dataset, share).test_at].min() == before


def test_make_split_reads_the_rule() -> None:
    dataset = log(SHOP)
    with pytest.warns(DataWarning):
        assert make_split(dataset, "time:.8").rule == "time:0.8"
    assert make_split(dataset).rule == make_split(dataset, "leave-one-out").rule == "leave-one-out"


def test_data_that_no_moment_splits() -> None:
    for share in (0, 1, -1, 2, float("nan")):
        with pytest.raises(ConfigError, match="must lie between 0 and 1"):
            time_split(log(SHOP), share)
    with pytest.raises(DataError, match="log has no times, only the order of each user's actions"):
        time_split(dataclasses.replace(log(SHOP), times=None))
    with pytest.raises(DataError, match="100% of these 9 share the first time, 4"):
        time_split(log([("a", str(i), 4) for i in range(9)]))
    once: list[Action] = [(str(u), str(u), u) for u in range(20)]
    with pytest.raises(DataError, match="no user acts both before and after 16, so the valid"):
        time_split(log(once), 0.9)


def test_moments_are_shown_as_dates() -> None:
    for unit in (1, 1000, 1_000_000, 1_000_000_000):
        actions = [(u, i, (NEW_YEAR + DAY * t) * unit) for u, i, t in SHOP]
        with pytest.warns(DataWarning) as told:
            time_split(log(actions), 0.8)
        text = str(told[0].message)
        assert "before 2020-01-07 00:00:00; " in text and "before 2020-01-09 00:00:00," in text
        assert units_per_day(np.array([NEW_YEAR * unit])) == DAY * unit
    assert units_per_day(np.array([20_240_531])) is None  # 2024-05-31 as a number
    assert units_per_day(np.arange(10)) is None


def test_the_fingerprint_is_of_the_data_and_what_is_held_out() -> None:
    dataset = log(SHOP)
    assert leave_one_out(dataset).fingerprint() == dataset.fingerprint()
    assert dataset.times is not None
    later = dataclasses.replace(dataset, times=dataset.times + 1)
    prints = [split_of(dataset, s).fingerprint() for s in (0.7, 0.8)]
    assert len({dataset.fingerprint(), *prints}) == 3
    assert split_of(later, 0.8).fingerprint() == prints[1]  # the same actions are held out
    moved = dataset.times.copy()
    moved[dataset.offsets[2] - 1] = 7.5  # bob's last purchase comes before the test period
    other = dataclasses.replace(dataset, times=moved)
    assert other.fingerprint() == dataset.fingerprint()
    assert split_of(other, 0.8).fingerprint() != prints[1]


# --- evaluation ----------------------------------------------------------------------------------


def crowd(users: int = 60, items: int = 150, repeats: Any = "forbid") -> Dataset:
    """Users that come and go over a hundred days; a few items come up in the last ten only."""
    dice = np.random.default_rng(4)
    actions: list[Action] = []
    for u in range(users):
        start = dice.uniform(0, 70)
        for t in np.sort(dice.uniform(start, start + 40, 14)):
            fresh = t > 90 and dice.random() < 0.4
            item = dice.integers(items - 10, items) if fresh else dice.integers(0, items - 10)
            actions.append((str(u), str(item), NEW_YEAR + t * DAY))
    return log(actions, repeats=repeats)


class ByNumber(Model):
    """Scores item i by i, so that what comes up last is ranked first."""

    n = 5

    def __init__(self, split: Split) -> None:
        self.num_items = split.dataset.num_items

    def all_scores(self, users: Any, histories: Any) -> Any:
        return np.tile(np.arange(self.num_items + 1.0), (len(users), 1))


@pytest.mark.parametrize("repeats", ["forbid", "allow"])
@pytest.mark.parametrize("part", ["valid", "test"])
def test_what_nobody_could_know_is_a_miss_and_no_candidate(part: Any, repeats: Any) -> None:
    split = split_of(crowd(repeats=repeats))
    trained = set(np.flatnonzero(split.popularity()))
    lost = [u for u in split.eval_users("test") if split.test[u] not in trained]
    assert lost and len(trained) < split.dataset.num_items - 5  # else this would test nothing
    full = Evaluator(split, part, "full", lists=10)
    found = full(ByNumber(split))
    for u, rank, shown in zip(found.users, found.ranks, found.items, strict=True):
        history, target = set(split.history(int(u), part)), split.targets(part)[u]
        ranked = trained - (history if repeats == "forbid" else set())
        assert shown.tolist() == sorted(ranked, reverse=True)[:10]
        above = sum(i > target for i in ranked)
        assert rank == (1 + above if target in ranked else np.inf)
    assert found.candidates == found.num_items == len(trained)
    sampled = Evaluator(split, part, "sampled", negatives=20)
    met = [set(split.dataset.sequence(int(u))) for u in sampled.users]
    for u, row, own in zip(sampled.users, sampled.candidates, met, strict=True):
        assert row[0] == split.targets(part)[u]
        assert set(row[1:]) <= trained - {row[0]} and len(set(row)) == 21
        assert repeats == "allow" or not set(row[1:]) & own
    ranks = sampled(ByNumber(split)).ranks
    missed = [split.targets(part)[u] not in trained for u in sampled.users]
    if repeats == "forbid":
        missed = np.array(missed) | split.met_before(part)[sampled.users]
    assert np.isinf(ranks).tolist() == list(missed)


def test_examples_are_of_the_catalogue() -> None:
    split = split_of(crowd())
    lines = example_recommendations(ByNumber(split), split, 0, users=20).splitlines()
    shown = {line.split()[1] for line in lines if re.match(r" +[1-5]\. ", line)}
    late = set(names(split.dataset, np.flatnonzero(~split.catalogue)))
    assert shown and late and not shown & late


def test_how_many_negatives_are_left() -> None:
    """Counted with sets: of the catalogue, what the user who has met most has not met."""
    split = split_of(crowd())
    trained = set(np.flatnonzero(split.popularity()))
    left = [len(trained - set(split.dataset.sequence(u))) for u in range(split.dataset.num_users)]
    assert negatives_left(split, wanted=1000) == min(left)
    some = np.array([3, 5, 8])
    assert negatives_left(split, some, 1000) == min(left[u] for u in some)
    assert usual_protocols(split) == ("sampled", "full")
    with pytest.raises(ConfigError, match=rf"met all but {min(left)} of {len(trained)} items"):
        Evaluator(split, "test", "sampled", negatives=min(left) + 1, max_users=0)


@pytest.mark.parametrize("name", ["sasrec", "bpr", "markov", "poprec", "recentpop"])
def test_the_future_leaves_no_trace(name: str) -> None:
    """Other items from the validation moment on: the same model, of all users' future."""
    dataset = crowd()
    split = split_of(dataset)
    place = np.arange(dataset.num_actions)
    later = place >= np.repeat(split.train_end, np.diff(dataset.offsets))
    config = from_json(
        {
            "model": name,
            "epochs": 2,
            "eval_every": 2,
            "sasrec": {"n": 10, "d": 8, "blocks": 1},
            "factors": {"d": 8},
            "recentpop": {"days": 7},
        }
    )
    scores = []
    for changed in (np.zeros_like(later), later, ~later):
        items = np.where(changed, dataset.items % dataset.num_items + 1, dataset.items)
        other = split_of(dataclasses.replace(dataset, items=items.astype(np.int32)))
        assert other.fingerprint() == split.fingerprint() or changed.any()
        model = make_model(config, other)
        if name in ("sasrec", "bpr"):
            fit(model, other, config, progress=False)  # type: ignore[arg-type]
        users = split.eval_users("valid")
        histories = Evaluator(split, "valid", "full").histories(users, model.n)
        scores.append(model.all_scores(users, histories))
    as_it_is, future_changed, train_changed = scores
    assert np.array_equal(as_it_is, future_changed)
    assert not np.array_equal(as_it_is, train_changed)


def test_no_history_reaches_over_its_moment() -> None:
    split = split_of(crowd())
    times = split.dataset.times
    assert times is not None
    train_last = times[split.train_end[split.train_end > split.dataset.offsets[:-1]] - 1].max()
    for part, at in (("valid", split.valid_at), ("test", split.test_at)):
        users = split.eval_users(part)
        ends = split.history_end(part)[users]
        assert (ends > split.dataset.offsets[users]).all()
        assert times[ends - 1].max() < times[at[users]].min()  # of all users, not of each alone
        assert train_last < times[at[users]].min()


# --- recent popularity ---------------------------------------------------------------------------


def test_recent_popularity_by_hand() -> None:
    actions = [(u, i, NEW_YEAR + DAY * t) for u, i, t in SHOP]
    split = split_of(log(actions), 0.8)  # the latest train action is on day 5
    item = {name: i for i, name in enumerate(split.dataset.item_ids)}
    for days, recent in ((1, {"cup": 1, "tea": 1}), (2.5, {"cup": 1, "tea": 1, "jam": 1})):
        counts = RecentPopularity(split, days).counts
        assert np.floor(counts).tolist() == [recent.get(n, 0) for n in split.dataset.item_ids]
    counts = RecentPopularity(split, 1).counts
    assert counts[item["tea"]] > counts[item["cup"]] > 1  # equal in the window: all days decide
    assert 1 > counts[item["jam"]] > counts[item["pot"]] == 0
    forever = RecentPopularity(split, 1000).counts
    assert np.array_equal(np.floor(forever), Popularity(split).counts)


def test_the_window_is_the_one_that_validates_best() -> None:
    """Fashion: what was bought in the last week is bought next, whatever was before."""
    dice = np.random.default_rng(1)
    actions: list[Action] = []
    for u in range(80):
        for t in np.sort(dice.uniform(0, 200, 12)):
            season = int(t // 10)
            actions.append((str(u), str(season * 8 + dice.integers(0, 8)), NEW_YEAR + t * DAY))
    split = split_of(log(actions, repeats="allow"))
    chosen = RecentPopularity.for_split(split)
    gains = {
        days: evaluate(RecentPopularity(split, days), split, "valid", "full").metrics()["NDCG@10"]
        for days in RecentPopularity.WINDOWS
    }
    assert gains[chosen.days] == max(gains.values()) > 1.2 * gains[365]
    assert RecentPopularity.for_split(split, RecentConfig(days=30)).days == 30
    # one list for all, and a rule of its own for ties: equal to the evaluator where repeats are
    for days, gain in gains.items():
        own = RecentPopularity(split, days)._gain(split) / len(split.eval_users("valid"))
        assert own == pytest.approx(gain)


def test_new_items_are_misses_when_the_window_is_chosen() -> None:
    """A catalogue of few items: a target outside of it would else have a rank up to 10."""
    names = ["old"] * 16 + ["new"] * 4 + ["newest"] * 5  # .64 are for training
    actions = [
        (f"u{u}", f"{name}{u % 5}", NEW_YEAR + DAY * (k + u / 100))
        for u in range(30)
        for k, name in enumerate(names)
    ]
    split = split_of(log(actions, repeats="allow"), 0.8)
    assert split.catalogue.sum() == 5 and not split.catalogue[split.valid[split.valid > 0]].any()
    for days in RecentPopularity.WINDOWS:
        model = RecentPopularity(split, days)
        found = evaluate(model, split, "valid", "full").metrics()
        assert found["NDCG@10"] == model._gain(split) == 0


def test_recent_popularity_needs_dates() -> None:
    with pytest.raises(DataError, match="the times run from 0 to 9: these are no dates"):
        RecentPopularity.for_split(split_of(log(SHOP), 0.8))
    with pytest.raises(DataError, match="log has no times"):
        RecentPopularity.for_split(leave_one_out(dataclasses.replace(log(SHOP), times=None)))
    with pytest.raises(ConfigError, match="--days is 0; it must be above 0"):
        from_json({"recentpop": {"days": 0}})


# --- the command line ----------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    dataset = crowd()
    assert dataset.times is not None
    lines = ["user,item,time"]
    for u in range(dataset.num_users):
        for at in range(dataset.offsets[u], dataset.offsets[u + 1]):
            item = dataset.item_ids[dataset.items[at]]
            lines.append(f"{dataset.user_ids[u]},{item},{dataset.times[at]:.0f}")
    path = tmp_path / "crowd.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


SMALL = "--epochs 2 --d 8 --n 10 --blocks 1 --min-actions 1 --threads 1".split()


def shell(command: str, *arguments: object) -> int:
    main = import_module(f"minisasrec.{command}").main
    return run_command(main, [str(a) for a in arguments])


def test_train_and_evaluate(file: Path, tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run"
    given = ("--dataset", file, "--split", "time:0.9", *SMALL, "--out", run)
    assert shell("train", *given) == 0
    out, err = capsys.readouterr()
    assert "note: crowd: time:0.9: trained on 81.0% of the actions" in err
    assert "count as misses: nobody can reach a test HR above" in err
    result = json.loads((run / "result.json").read_text())["test"]
    assert [(row["protocol"], row["model"]) for row in result] == [
        (protocol, model)
        for protocol in usual_protocols(make_split(load_dataset(file, min_actions=1), "time:0.9"))
        for model in ("sasrec", "poprec", "recentpop")
    ]
    assert result[2]["days"] in RecentPopularity.WINDOWS
    assert f"recentpop {result[2]['days']:g} days" in out

    assert shell("evaluate", run, "--json") == 0  # under the run's split
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows == result
    assert shell("evaluate", run, "--split", "time:.90", "--part", "valid") == 0
    assert "valid part" in capsys.readouterr().out

    resumed = ("--dataset", file, "--split", "time:.90", *SMALL, "--out", run, "--resume")
    assert shell("train", *resumed) == 0  # one split, whatever its spelling
    capsys.readouterr()
    for other in ("leave-one-out", "time:0.8"):
        assert shell("evaluate", run, "--split", other) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: --split is {other}, but {run} was trained with time:0.9")
        assert len(said.splitlines()) == 1
        resumed = ("--dataset", file, "--split", other, *SMALL, "--out", run, "--resume")
        assert shell("train", *resumed) != 0
        assert len([x for x in capsys.readouterr().err.splitlines() if "error: " in x]) == 1


def test_a_run_whose_times_have_changed_is_refused(file: Path, tmp_path: Path, capsys: Any) -> None:
    """The order of each user's actions is as before, but other ones are held out."""
    run = tmp_path / "run"
    given = ("--dataset", file, "--split", "time:0.9", *SMALL, "--out", run)
    assert shell("train", *given) == 0
    header, *lines = file.read_text().splitlines()
    lines = [
        f"{x},{int(t) - 30 * DAY * (int(x.split(',')[0]) % 2)}"
        for x, t in (line.rsplit(",", 1) for line in lines)
    ]
    file.write_text("\n".join([header, *lines]))
    capsys.readouterr()
    assert shell("train", *given, "--resume") == 1
    assert "was trained on other data than that read now" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["recentpop", "poprec", "markov", "bpr"])
def test_other_models(file: Path, tmp_path: Path, capsys: Any, model: str) -> None:
    given = ("--dataset", file, "--model", model, "--split", "time:0.9", "--min-actions", "1")
    more = {"bpr": ("--epochs", "1"), "recentpop": ("--days", "7")}.get(model, ())
    assert shell("train", *given, *more, "--out", tmp_path / "run", "--json") == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)["test"]
    assert rows[0]["model"] == model and ("days" in rows[0]) == (model == "recentpop")
    assert ("nobody has chosen settings" in err) == (model == "bpr")
    file.unlink()  # the run needs no data file
    assert shell("evaluate", tmp_path / "run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == rows


def test_a_recommender_takes_a_rule_or_a_split(file: Path, tmp_path: Path) -> None:
    frame = pandas.read_csv(file, dtype={"user": str, "item": str})
    reading = {"min_actions": 1, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        by_rule = Recommender("markov", split="time:0.9").fit(frame, time="time", **reading)
        by_split = Recommender("markov").fit(split_of(load_dataset(file, min_actions=1)))
    whole = split_of(load_dataset(file, min_actions=1))
    for made in (by_rule, by_split):
        assert made.config.split == made.known.rule == "time:0.9"
        assert made.known.popularity.tolist() == whole.popularity().tolist()
        never = {made.item_ids[i - 1] for i in np.flatnonzero(~whole.catalogue)[1:]}
        assert never and not never & set(made.recommend(k=20)["item"])
        made.save(tmp_path / "saved")
        loaded = Recommender.load(tmp_path / "saved").known.split
        assert loaded is not None and loaded.catalogue.tolist() == whole.catalogue.tolist()
        shutil.rmtree(tmp_path / "saved")


def test_the_window_that_was_chosen_is_kept_for_everything(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is held out then: without a choice the first window would do."""
    monkeypatch.setattr(RecentPopularity, "WINDOWS", (365.0, 30.0, 1.0))
    frame = pandas.read_csv(file)
    reading = {"time": "time", "min_actions": 1, "progress": False}
    made = {}
    for on in ("train", "everything"):
        made[on] = Recommender("recentpop", split="time:0.9").fit(frame, on=on, **reading).model_
    assert isinstance(made["train"], RecentPopularity)
    assert made["everything"].days == made["train"].days == 1
    assert made["everything"].counts.sum() != made["train"].counts.sum()


def test_what_a_data_set_holds_under_a_split(file: Path, capsys: Any) -> None:
    assert shell("data.__main__", file, "--min-actions", 1, "--split", "time:0.9") == 0
    out = capsys.readouterr().out
    split = split_of(load_dataset(file, min_actions=1))
    assert f"train part    {split.num_train_actions:,} actions" in out
    assert f"evaluated     {len(split.eval_users('test')):,} users" in out
    assert "note          time:0.9: trained on 81.0%" in out


def test_a_split_by_time_of_data_without_times(capsys: Any, tmp_path: Path) -> None:
    assert shell("train", "--split", "time:0.9", "--out", tmp_path / "run") == 1
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: bookshop has no times, only the order")
    assert len(err.splitlines()) == 1 and not (tmp_path / "run").exists()
    assert shell("train", "--split", "time:7", "--out", tmp_path / "run") == 2
    assert "choose leave-one-out, or time:SHARE" in capsys.readouterr().err
