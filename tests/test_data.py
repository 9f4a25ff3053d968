"""Dataset, build_dataset, save and load, leave-one-out: by hand-made examples and by properties."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisasrec.data import Dataset, DataWarning, build_dataset, leave_one_out, load_dataset
from minisasrec.data import split as split_module
from minisasrec.errors import DataError


def small(**changes: object) -> Dataset:
    parts: dict[str, object] = {
        "name": "small",
        "items": np.array([1, 2, 3, 2, 1], dtype=np.int32),
        "offsets": np.array([0, 3, 5], dtype=np.int64),
        "user_ids": ["ann", "bob"],
        "item_ids": ["<pad>", "a", "b", "c"],
    }
    return Dataset(**{**parts, **changes})  # type: ignore[arg-type]


def sequences(dataset: Dataset) -> dict[str, list[str]]:
    return {
        user: [dataset.item_ids[i] for i in dataset.sequence(u)]
        for u, user in enumerate(dataset.user_ids)
    }


def test_statistics_are_table_two() -> None:
    stats = small().statistics()
    assert (stats.users, stats.items, stats.actions) == (2, 3, 5)
    assert (stats.actions_per_user, stats.actions_per_item) == (2.5, 5 / 3)
    assert (stats.min_length, stats.max_length) == (2, 3)
    assert str(stats) == (
        "2 users, 3 items, 5 actions; 2.5 actions/user (2 to 3), 1.7 actions/item"
    )
    assert repr(small()) == f"<Dataset small: {stats}>"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": np.array([1, 2, 3, 2, 1])}, "items must be a one-dimensional int32 array"),
        ({"items": [1, 2, 3, 2, 1]}, "got list"),
        ({"items": np.array([1, 2, 3, 0, 1], dtype=np.int32)}, r"1\.\.3 .* got 0\.\.3"),
        ({"items": np.array([1, 2, 4, 2, 1], dtype=np.int32)}, r"got 1\.\.4"),
        ({"offsets": np.array([0, 3, 4])}, "number of actions 5, got 0 to 4"),
        ({"offsets": np.array([0, 6, 5])}, "user 1 would run from 6 to 5"),
        ({"offsets": np.array([0])}, "holds no actions"),
        ({"user_ids": ["ann"]}, "1 user_ids for the 2 users"),
        ({"user_ids": ["ann", "ann"]}, "user_ids must be distinct, got 1 repeats"),
        ({"item_ids": ["a", "b", "c"]}, r"item_ids\[0\] must be '<pad>'"),
        ({"titles": ["A", "B", "C"]}, "titles must have one entry for each of the 4"),
        ({"categories": [()]}, "categories must have one entry"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        small(**changes)
    assert "\n" not in str(caught.value)


def test_arrays_are_read_only_but_the_callers_stay_writable() -> None:
    items = np.array([1, 2, 3, 2, 1], dtype=np.int32)
    dataset = small(items=items)
    with pytest.raises(ValueError, match="read-only"):
        dataset.items[0] = 2
    items[0] = 2
    with pytest.raises(DataError, match=r"user 2 is outside 0\.\.1"):
        dataset.sequence(2)
    with pytest.raises(DataError, match="user -1"):
        dataset.sequence(-1)


def test_fingerprint_depends_on_actions_and_ids_alone() -> None:
    print_ = small().fingerprint()
    # a constant: the same on every platform and in every version that can read old checkpoints
    assert print_ == "d67ed150aa0a33cc72d9a6c544ad2e8ddc1ef2d102058ee5efe4ec509b60d556"
    assert small(name="other", titles=["<pad>", "A", "B", "C"]).fingerprint() == print_
    changed = [
        small(items=np.array([1, 2, 3, 1, 2], dtype=np.int32)),
        small(offsets=np.array([0, 2, 5])),
        small(user_ids=["ann", "bo"]),
        small(item_ids=["<pad>", "a", "b", "d"]),
    ]
    assert len({print_, *(d.fingerprint() for d in changed)}) == 5


def test_one_pass_counts_once_and_iterative_until_nothing_falls() -> None:
    # item y has 2 actions, one of them by u3, who has 1: without u3 item y is left with 1
    users = ["u1", "u1", "u2", "u2", "u2", "u3"]
    items = ["x", "z", "x", "z", "y", "y"]
    kwargs: dict[str, Any] = {
        "users": users,
        "items": items,
        "timestamps": range(6),
        "min_actions": 2,
    }
    with pytest.warns(DataWarning, match="2 users have fewer than 3|1 of 2 users"):
        one_pass = build_dataset(**kwargs)
    assert sequences(one_pass) == {"u1": ["x", "z"], "u2": ["x", "z", "y"]}
    with pytest.warns(DataWarning):
        iterative = build_dataset(**kwargs, filter="iterative")
    assert sequences(iterative) == {"u1": ["x", "z"], "u2": ["x", "z"]}
    with pytest.warns(DataWarning):
        everything = build_dataset(**kwargs, filter="none")
    assert everything.num_actions == 6


def test_equal_times_keep_the_order_of_the_rows_and_repeats_are_kept() -> None:
    rows = [
        ("u", "c", 5),
        ("u", "a", 5),
        ("v", "a", 1),
        ("u", "b", 4),
        ("u", "c", 5),
        ("u", "a", 5),
    ]
    users, items, times = zip(*rows, strict=True)
    with pytest.warns(DataWarning) as caught:
        dataset = build_dataset(users, items, times, min_actions=0)
    assert [str(w.message) for w in caught] == [f"custom: {text}" for text in dataset.warnings]
    assert dataset.warnings[0].startswith("67% of the actions share their time with another")
    assert dataset.warnings[1].startswith("33% of the rows (2) are the same as another one")
    assert dataset.warnings[2].startswith("1 of 2 users have fewer than 3 actions")
    assert sequences(dataset) == {"u": ["b", "c", "a", "c", "a"], "v": ["a"]}


def test_ids_are_numbered_as_numbers_when_all_are_numbers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        numbers = build_dataset([10, 9, 9], [100, 20, 3], min_actions=0)
        texts = build_dataset(["10", "9", "x"], ["100", "20", "3a"], min_actions=0)
    assert (numbers.user_ids, numbers.item_ids) == (["9", "10"], ["<pad>", "3", "20", "100"])
    assert (texts.user_ids, texts.item_ids) == (["10", "9", "x"], ["<pad>", "100", "20", "3a"])


def test_without_times_the_row_order_counts() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = build_dataset([1, 2, 1, 1, 2, 2], [3, 1, 2, 1, 3, 3], min_actions=0)
    assert sequences(dataset) == {"1": ["3", "2", "1"], "2": ["1", "3", "3"]}


def test_titles_and_categories_follow_the_items() -> None:
    dataset = build_dataset(
        [1] * 3, [7, 5, 9], [1, 2, 3], min_actions=0,
        titles={5: "five", "9": "nine"}, categories={7: ["A", "B"]},
    )  # fmt: skip
    assert dataset.titles == ["<pad>", "five", "7", "nine"]
    assert dataset.categories == [(), (), ("A", "B"), ()]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1, 2], [1], None), "equally long, got 2 users, 1 items"),
        (
            ([1.0, np.nan], [1, 2], None),
            "columns row 1: the user id is missing .column 'user': nan",
        ),
        (([1, 2], ["a", None], None), "row 1: the item id is missing"),
        (([2.0**60, 2.0], [1, 2], None), "row 0: the user is 1.15.*e.18: such large numbers lose"),
        (([[1], [2]], [1, 2], None), "row 0: the user is a list of 1 value"),
        (([b"1", b"2"], [1, 2], None), "row 0: the user is bytes"),
        (([1, 2], [True, False], None), "row 0: the item is a truth value"),
        (([1, 2], [1, 2], [3, -1]), "row 1: the time must be a number >= 0, .* got -1"),
        (([1], [1], [np.timedelta64(3, "s")]), "row 0: the time is a duration, got 0 days"),
        (([1], [1], [timedelta(seconds=3)]), "row 0: the time is a duration, got 0"),
        (([1, 2], [1, 2], [3, np.inf]), "row 1: the time must be a number >= 0, .* got inf"),
        (
            ([1, 2], [1, 2], ["yesterday", "now"]),
            "row 0: the time must be a number >= 0, or a date such as 2024-05-31 12.* got 'yest",
        ),
        (([1], [1], [np.datetime64("NaT")]), "row 0: the time is missing .*NaT"),
        ((np.ones((2, 2)), [1, 2], None), "the columns make no table"),
        (([1], [1], None), "no action is left of 1 after the 'one-pass' filter"),
        (([], [], None), "columns is empty: expected rows with user, item"),
    ],
)
def test_columns_that_cannot_be_used(columns: tuple[object, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_dataset(*columns)


def test_an_unknown_filter_is_refused() -> None:
    with pytest.raises(DataError, match="one of one-pass, iterative, none, got 'kcore'"):
        build_dataset([1], [1], filter="kcore")  # type: ignore[arg-type]


def test_pandas_columns_with_dates() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "u": pandas.Series([1.0, 1.0, 1.0]),  # whole numbers that a missing value made floats
            "i": ["b", "a", "c"],
            "t": pandas.to_datetime(["2020-01-02", "2020-01-01", "2020-01-03"]),
        }
    )
    dataset = build_dataset(frame.u, frame.i, frame.t, min_actions=0)
    assert sequences(dataset) == {"1": ["a", "b", "c"]}


ROWS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 8), st.integers(0, 4)), min_size=1, max_size=80
)


@given(rows=ROWS, least=st.integers(0, 4), filter=st.sampled_from(["one-pass", "iterative"]))
@settings(deadline=None, max_examples=60)
def test_build_dataset_equals_a_plain_definition(
    rows: list[tuple[int, int, int]], least: int, filter: Any
) -> None:
    kept = rows
    while True:
        users = [u for u, _, _ in kept]
        items = [i for _, i, _ in kept]
        left = [r for r in kept if users.count(r[0]) >= least and items.count(r[1]) >= least]
        done = filter == "one-pass" or left == kept
        kept = left
        if done:
            break
    want = {
        str(u): [str(i) for _, i in sorted(((t, i) for v, i, t in kept if v == u),
                                           key=lambda row: row[0])]
        for u in sorted({u for u, _, _ in kept})
    }  # fmt: skip
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        if not kept:
            with pytest.raises(DataError, match="no action is left"):
                build_dataset(*columns, min_actions=least, filter=filter)
            return
        dataset = build_dataset(*columns, min_actions=least, filter=filter)
    assert sequences(dataset) == want
    assert list(dataset.item_ids[1:]) == sorted({str(i) for _, i, _ in kept})


@pytest.mark.parametrize("mmap", [True, False])
def test_save_and_load(tmp_path: Path, mmap: bool) -> None:
    dataset = small(
        titles=["<pad>", "Ä", "B", "C"],
        categories=[(), ("x", "y"), (), ("y",)],
        source="made by hand",
        warnings=("odd",),
    )
    dataset.save(tmp_path / "new" / "folder")
    back = Dataset.load(tmp_path / "new" / "folder", mmap=mmap)
    base = back.items.base
    assert isinstance(base, np.memmap) == mmap
    assert back.fingerprint() == dataset.fingerprint()
    for field in ("name", "source", "titles", "categories", "warnings"):
        assert getattr(back, field) == getattr(dataset, field)
    back.save(tmp_path / "new" / "folder")  # over itself, while it is mapped
    assert Dataset.load(tmp_path / "new" / "folder").fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize("mmap", [True, False])
def test_times_are_saved_and_loaded(tmp_path: Path, mmap: bool) -> None:
    stamps = [
        1.5,
        2.5,
        2.5,
        0.5,
        9.5,
    ]  # bob begins before ann ends: only inside a user do they rise
    small(times=np.array(stamps)).save(tmp_path)
    back = Dataset.load(tmp_path, mmap=mmap)
    assert back.times is not None and back.times.tolist() == stamps
    assert back.times.dtype == np.float64 and not back.times.flags.writeable
    assert back.fingerprint() == small().fingerprint()  # known data stays known
    small().save(tmp_path)  # now without times: those of before do not come back
    assert Dataset.load(tmp_path, mmap=mmap).times is None
    small(times=np.array(stamps)).save(tmp_path)
    (tmp_path / "times.npy").unlink()
    with pytest.raises(DataError, match="cannot read .*times.npy: No such file"):
        Dataset.load(tmp_path)


def test_a_folder_saved_before_times_were_kept(tmp_path: Path) -> None:
    small().save(tmp_path)
    meta = json.loads((tmp_path / "dataset.json").read_text())
    del meta["times"]
    (tmp_path / "dataset.json").write_text(json.dumps(meta))
    assert Dataset.load(tmp_path).times is None


def test_times_are_sorted_with_the_actions() -> None:
    users, items, stamps = [2, 1, 2, 1, 2], [5, 6, 7, 8, 9], [30, 9, 10, 8, 20]
    with pytest.warns(DataWarning, match="fewer than 3"):
        dataset = build_dataset(users, items, stamps, min_actions=0)
    assert sequences(dataset) == {"1": ["8", "6"], "2": ["7", "9", "5"]}
    assert dataset.times is not None and dataset.times.tolist() == [8, 9, 10, 20, 30]
    with pytest.warns(DataWarning, match="fewer than 3"):
        assert build_dataset(users, items, min_actions=0).times is None


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (np.arange(4), r"one entry for each of the 5 actions, got shape \(4,\)"),
        (np.arange(5, dtype=np.int32), "int64 or float64 array, got int32"),
        ([1, 2, 3, 4, 5], "int64 or float64 array, got list"),
        (np.array([1, 2, np.nan, 4, 5]), "must be numbers, got nan for action 2"),
        (np.array([1, 3, 2, 4, 5]), "user ann are not in time order: 2 comes after 3"),
        (np.array([1, 2, 3, 5, 4]), "user bob are not in time order: 4 comes after 5"),
    ],
)
def test_times_that_do_not_fit_are_refused(times: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        small(times=times)


def test_times_beside_users_without_actions() -> None:
    offsets = np.array([0, 0, 3, 3, 5, 5], dtype=np.int64)
    dataset = small(offsets=offsets, user_ids=list("vwxyz"), times=np.array([7, 8, 9, 1, 2]))
    assert dataset.times is not None
    with pytest.raises(DataError, match="user y are not in time order"):
        small(offsets=offsets, user_ids=list("vwxyz"), times=np.array([7, 8, 9, 2, 1]))


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no dataset.json"):
        Dataset.load(tmp_path)
    small().save(tmp_path)
    whole = (tmp_path / "items.npy").read_bytes()
    (tmp_path / "items.npy").write_bytes(whole[:-4])
    with pytest.raises(DataError, match="damaged"):
        Dataset.load(tmp_path)
    (tmp_path / "items.npy").unlink()
    with pytest.raises(DataError, match="damaged"):
        Dataset.load(tmp_path)
    (tmp_path / "items.npy").write_bytes(whole)
    meta = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(DataError, match="format 99, this version reads 1"):
        Dataset.load(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        Dataset.load(tmp_path)


def test_an_interrupted_save_leaves_the_data_set_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small().save(tmp_path)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", interrupt)
    with pytest.raises(KeyboardInterrupt):
        dataclasses.replace(small(), name="other").save(tmp_path)
    monkeypatch.undo()
    assert Dataset.load(tmp_path).name == "small"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"dataset.json", "items.npy", "offsets.npy"}


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_saving_follows_no_link(tmp_path: Path) -> None:
    outside, folder = tmp_path / "mine", tmp_path / "saved"
    outside.write_text("mine")
    folder.mkdir()
    for name in ("items.npy", "items.npy.part", "dataset.json", "dataset.json.part"):
        (folder / name).symlink_to(outside)
    small().save(folder)
    assert outside.read_text() == "mine" and Dataset.load(folder).name == "small"


def test_saving_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot save data set 'small'"):
        small().save(tmp_path / "file")


def test_leave_one_out() -> None:
    items = [1, 2, 3, 4, 5, 1, 2, 3, 4, 4]
    dataset = small(
        items=np.array(items, dtype=np.int32),
        offsets=np.array([0, 4, 7, 9, 10]),
        user_ids=["four", "three", "two", "one"],
        item_ids=["<pad>", *"abcde"],
    )
    split = leave_one_out(dataset)
    assert split.train_end.tolist() == [2, 5, 9, 10]
    assert split.valid.tolist() == [3, 1, 0, 0]
    assert split.test.tolist() == [4, 2, 0, 0]
    assert [split.train_sequence(u).tolist() for u in range(4)] == [[1, 2], [5], [3, 4], [4]]
    assert [split.history(u, "valid").tolist() for u in range(4)] == [[1, 2], [5], [3, 4], [4]]
    assert [split.history(u, "test").tolist() for u in range(4)] == [[1, 2, 3], [5, 1], [3, 4], [4]]
    assert split.eval_users("test").tolist() == split.eval_users("valid").tolist() == [0, 1]
    assert split.popularity().tolist() == [0, 1, 1, 1, 2, 1]
    assert split.num_train_actions == 6
    assert np.shares_memory(split.history(0, "test"), dataset.items)
    with pytest.raises(DataError, match='"valid" or "test", got \'train\''):
        split.history(0, "train")  # type: ignore[arg-type]


def of_users(users: list[list[int]], items: int, **changes: object) -> Dataset:
    return small(
        items=np.array([i for s in users for i in s], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, users)]),
        user_ids=[str(u) for u in range(len(users))],
        item_ids=["<pad>", *(f"i{i}" for i in range(1, items + 1))],
        **changes,
    )


@given(
    st.lists(st.lists(st.integers(1, 6), max_size=7), min_size=1, max_size=8).filter(any),
    st.integers(1, 9),
)
@settings(deadline=None, max_examples=60)
def test_which_targets_were_met_before(users: list[list[int]], block: int) -> None:
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore", DataWarning)
        patch.setattr(split_module, "ACTIONS_AT_ONCE", block)
        split = leave_one_out(of_users(users, 6))
        for part, back in (("valid", 2), ("test", 1)):
            want = [len(s) >= 3 and s[-back] in s[:-back] for s in users]
            assert split.met_before(part).tolist() == want  # type: ignore[arg-type]
            evaluated = [met for met, s in zip(want, users, strict=True) if len(s) >= 3]
            share = sum(evaluated) / len(evaluated) if evaluated else 0
            assert split.repeat_share(part) == pytest.approx(share)  # type: ignore[arg-type]


def repeaters(valid: int, test: int, repeats: str = "auto") -> Dataset:
    """100 users, of whom so many meet the validation item and the test item for a second time."""
    users = [[1, 2, 1 if u < valid else 3, 2 if u < test else 4] for u in range(100)]
    return of_users(users, 4, repeats=repeats)


def test_repeats_are_decided_by_the_validation_part_alone() -> None:
    for valid, test, rule in ((0, 100, "forbid"), (4, 90, "forbid"), (5, 0, "allow")):
        with pytest.warns(DataWarning, match=f"small: users had met {valid}.0% .* {test}.0% of"):
            split = leave_one_out(repeaters(valid, test))
        assert split.repeats == rule
        assert f"repeats: {rule} (auto)" in split.repeats_note()
    with pytest.warns(DataWarning, match="repeats: forbid, so such targets count as misses"):
        assert leave_one_out(repeaters(50, 50, "forbid")).repeats == "forbid"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing to tell
        assert leave_one_out(repeaters(0, 0)).repeats == "forbid"
        assert leave_one_out(repeaters(0, 0, "allow")).repeats == "allow"
        assert leave_one_out(of_users([[1, 1]], 1)).repeats == "forbid"  # nobody is evaluated
    with pytest.raises(DataError, match="repeats is 'yes'; choose one of auto, allow, forbid"):
        repeaters(0, 0, "yes")


def test_the_rule_about_repeats_is_saved_with_the_data(tmp_path: Path) -> None:
    repeaters(9, 9, "forbid").save(tmp_path)
    assert Dataset.load(tmp_path).repeats == "forbid"
    assert load_dataset(tmp_path).repeats == "forbid"
    assert load_dataset(tmp_path, repeats="allow").repeats == "allow"
    meta = json.loads((tmp_path / "dataset.json").read_text())
    del meta["repeats"]  # as it was written before there was such a rule
    (tmp_path / "dataset.json").write_text(json.dumps(meta))
    assert Dataset.load(tmp_path).repeats == "auto"
    assert build_dataset([1] * 3, [1, 2, 1], min_actions=0, repeats="allow").repeats == "allow"


def test_an_items_title() -> None:
    assert [small(titles=["<pad>", "A", "B", "C"]).title(i) for i in (1, 3)] == ["A", "C"]
    assert small().title(2) == "item b"
    for item in (0, 4, -1):
        with pytest.raises(DataError, match=rf"item {item} is outside 1\.\.3"):
            small().title(item)


@given(st.lists(st.lists(st.integers(1, 6), max_size=7), min_size=1, max_size=8).filter(any))
@settings(deadline=None, max_examples=60)
@pytest.mark.filterwarnings("ignore::minisasrec.data.DataWarning")
def test_the_three_parts_make_up_the_whole(users: list[list[int]]) -> None:
    dataset = small(
        items=np.array([i for s in users for i in s], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, users)]),
        user_ids=[str(u) for u in range(len(users))],
        item_ids=["<pad>", *"abcdef"],
    )
    split = leave_one_out(dataset)
    for u, sequence in enumerate(users):
        held_out = [int(split.valid[u]), int(split.test[u])] if len(sequence) >= 3 else []
        assert [*split.train_sequence(u).tolist(), *held_out] == sequence
        assert bool(split.valid[u]) == bool(split.test[u]) == (len(sequence) >= 3)
    train = [i for u in range(len(users)) for i in split.train_sequence(u).tolist()]
    assert split.popularity().tolist() == [train.count(i) for i in range(7)]
    assert split.num_train_actions == len(train)
