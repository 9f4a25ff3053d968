"""Whom to recommend to, and what: ids of every kind, tables, strangers, and what is left out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shop import COLUMNS, START, fitted, log, settings_of

from minisasrec import Recommender
from minisasrec.commands.tables import writing
from minisasrec.data import DataWarning
from minisasrec.errors import ConfigError, DataError
from minisasrec.learn import frames, recommendation
from minisasrec.learn.known import id_text
from minisasrec.models import MODELS

PLAIN: dict[str, Any] = {"min_actions": 1, "progress": False}


def small(frame: Any, **columns: str) -> Recommender:
    """Counts only: quick, and enough for what is asked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return Recommender("markov").fit(frame, **columns, **PLAIN)


def renamed(change: Any) -> pd.DataFrame:
    """The log with other ids."""
    frame = log()[["visitor", "page", "at"]]
    frame.columns = ["user", "item", "time"]
    return frame.assign(user=frame.user.map(change), item=frame.item.map(change))


# --- ids -------------------------------------------------------------------------------------


def test_whole_numbers_go_out_as_they_came_in(tmp_path: Path) -> None:
    recommender = small(renamed(lambda text: int(text[1:])))
    found = recommender.recommend(users=[7, "7", 7.0, np.int64(7)], k=2)
    assert found["item"].dtype.kind == "i" and len(set(found["item"])) == 2 and len(found) == 8
    loaded = Recommender.load(recommender.save(tmp_path / "home"))
    assert loaded.recommend(k=2)["user"].dtype.kind == "i"
    assert loaded.item_ids[:3] == recommender.item_ids[:3] and type(loaded.item_ids[0]) is int
    one, other = (loaded.recommend(histories=[history], k=3) for history in ([3, 5], ["3", "5"]))
    assert one["item"].tolist() == other["item"].tolist()


@pytest.mark.parametrize("kind", ["uint64", "UInt64", "uint64[pyarrow]", object])
def test_hashes_of_64_bits_go_out_as_they_came_in(kind: Any, tmp_path: Path) -> None:
    """Above 2**63: no whole number with a sign holds them, and a float rounds them."""
    hashed = renamed(lambda text: 2**64 - 1 - 2**40 * int(text[1:]))
    frame = hashed.astype({"user": kind, "item": kind})
    recommender = small(frame)
    loaded = Recommender.load(recommender.save(tmp_path / "home"))
    for made in (recommender, loaded):
        found = made.recommend(k=2)
        assert set(found["item"]) <= set(hashed.item) and set(found["user"]) == set(hashed.user)
        assert len(made.recommend(users=made.user_ids[:3], k=1)) == 3
    with writing(tmp_path / "found.parquet") as writer:
        writer.write(found)
    pd.testing.assert_series_equal(
        pd.read_parquet(tmp_path / "found.parquet")["item"], found["item"]
    )


@pytest.mark.parametrize("prefix", ["-", "--", "頁", "é ", "a\n", "\t", "'\"", "x,", "\U0001f600"])
def test_text_ids_of_every_kind(prefix: str, tmp_path: Path) -> None:
    recommender = small(renamed(lambda text: prefix + text))
    loaded = Recommender.load(recommender.save(tmp_path / "home"))
    found = loaded.recommend(users=[prefix + "u3"], histories=[[prefix + "p5"]], k=2)
    pd.testing.assert_frame_equal(
        found, recommender.recommend(users=[prefix + "u3"], histories=[[prefix + "p5"]], k=2)
    )
    assert set(found["user"]) == {prefix + "u3"}
    assert all(item.startswith(prefix.lstrip() + "p") for item in found["item"])
    with pytest.raises(DataError) as caught:
        loaded.recommend(users=[prefix + "u300"])
    assert "did you mean" in str(caught.value)


@pytest.mark.parametrize(
    "bad", [None, np.nan, pd.NA, pd.NaT, True, np.bool_(0), b"x", ["a"], {}, np.inf]
)
def test_what_is_no_id(bad: Any) -> None:
    with pytest.raises(DataError):
        id_text(bad)


def test_ids_that_are_fractions() -> None:
    """A log may have 102.5 beside 102; a question finds what the log has."""
    halves = log().assign(page=log()["page"].str[1:].astype(int) / 2)
    recommender = Recommender("poprec").fit(halves, **COLUMNS)
    for history in ([2.5, 3, 3.0, np.float32(4.5)], ["2.5", "3.0", "3", "4.5"]):
        found = recommender.recommend(histories=[history], candidates=[5.5, 6, 7.0], k=3)
        assert set(found["item"]) == {"5.5", "6.0", "7.0"}
    with pytest.raises(DataError, match="no item '102.25'"):
        recommender.recommend(histories=[[102.25]])


def test_two_columns_of_one_name_are_told() -> None:
    table = pd.DataFrame([("u1", "p3", "p4")], columns=["user", "item", "item"])
    with pytest.raises(DataError, match="2 columns called 'item'; drop or rename"):
        fitted("poprec").recommend(histories=table)


def test_a_padded_history_is_refused() -> None:
    recommender = small(renamed(lambda text: int(text[1:]) + 1))
    with pytest.raises(DataError, match="no item '0'"):
        recommender.recommend(histories=[[0, 0, 0, 5, 7]])


# --- tables ----------------------------------------------------------------------------------


def test_histories_as_a_table() -> None:
    recommender = fitted()
    rows = [("b", "p7", 2), ("a", "p3", 1), ("b", "p5", 1), ("a", "p4", 9)]
    table = pd.DataFrame(rows, columns=["user", "item", "time"])
    found = recommender.recommend(histories=table, k=3)
    lists = recommender.recommend(["b", "a"], [["p5", "p7"], ["p3", "p4"]], k=3)
    pd.testing.assert_frame_equal(found, lists)
    by_row = table.rename(columns={"user": "row"})
    assert recommender.recommend(histories=by_row, k=3)["row"].unique().tolist() == ["b", "a"]
    numbered = table.assign(row=[7, 8, 9, 10])  # a row number beside the user makes no histories
    pd.testing.assert_frame_equal(
        recommender.recommend(histories=numbered, k=3),
        recommender.recommend(histories=table, k=3),
    )
    untimed = recommender.recommend(histories=table.drop(columns="time"), k=3)
    swapped = recommender.recommend(["b", "a"], [["p7", "p5"], ["p3", "p4"]], k=3)
    pd.testing.assert_frame_equal(untimed, swapped)
    for column in ("item", "user"):
        with pytest.raises(DataError, match=f"no column '{column}'; its columns are"):
            recommender.recommend(histories=table.drop(columns=column))
    with pytest.raises(ConfigError, match="users and a table of histories"):
        recommender.recommend(["a"], table)


def test_the_times_of_a_table_of_histories_are_read_as_those_of_a_log() -> None:
    recommender = fitted()
    table = pd.DataFrame({"user": ["a", "a", "a"], "item": ["p3", "p4", "p9"]})
    want = recommender.recommend(histories=table, k=3)
    dates = pd.to_datetime(["2020-01-09", "2020-01-10", "2020-01-11"])
    for times in (["9", "10", "11"], [9, 10.5, 11], dates, dates.strftime("%d.%m.%Y"), dates.date):
        shuffled = table.assign(time=times).iloc[[1, 2, 0]]
        pd.testing.assert_frame_equal(recommender.recommend(histories=shuffled, k=3), want)
    for times, says in (
        ([9, "soon", 11], "row 1: the time must be a number"),
        ([9, None, 11], "no time in row 1"),
        ([dates[0], pd.NaT, dates[1]], "no time in row 1"),
        (["1/2/2020", "3/4/2020", "5/6/2020"], "day first or the month first"),
    ):
        with pytest.raises(DataError, match=says):
            recommender.recommend(histories=table.assign(time=times))


def test_a_user_whom_the_filter_left_out_is_told_of_it() -> None:
    few = pd.concat([log(), pd.DataFrame([("few", "p1", START, "Page 1")], columns=list(log()))])
    columns = {**COLUMNS, "min_actions": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        recommender = Recommender("markov").fit(few, **columns)
    says = "somebody new, or left out by the one-pass filter, min_actions=3, give histories="
    with pytest.raises(DataError, match=says):
        recommender.recommend(["few"])


def test_columns_that_are_numbers_or_categories() -> None:
    frame = renamed(lambda text: int(text[1:]))
    want = small(frame).recommend(k=2)
    categories = frame.astype({"user": "category", "item": "category"})
    pd.testing.assert_frame_equal(small(categories).recommend(k=2), want)
    unnamed = frame.set_axis([0, 1, 2], axis=1)
    found = small(unnamed, user="0", item="1", time="2").recommend(k=2)
    pd.testing.assert_frame_equal(found, want)


def test_categories_of_polars() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.from_pandas(renamed(str))
    want = small(frame).recommend(k=2)
    kinds = (polars.Categorical, polars.Enum(frame["user"].unique().to_list()))
    for kind in kinds:
        found = small(frame.with_columns(polars.col("user").cast(kind))).recommend(k=2)
        assert found.equals(want)


def test_polars_in_polars_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = renamed(lambda text: int(text[1:]))
    recommender = small(polars.from_pandas(frame))
    found = recommender.recommend(k=2)
    assert isinstance(found, polars.DataFrame)
    want = small(frame).recommend(k=2)
    pd.testing.assert_frame_equal(found.to_pandas(), want, check_dtype=False)
    loaded = Recommender.load(recommender.save(tmp_path / "home"))
    assert loaded.recommend(k=2).equals(found)
    again = Recommender.load(loaded.save(tmp_path / "again"))
    assert isinstance(again.recommend(k=2), polars.DataFrame)
    monkeypatch.setattr(frames, "find_spec", lambda name: None)  # where there is no polars
    assert isinstance(Recommender.load(tmp_path / "home").recommend(k=2), pd.DataFrame)
    asked = polars.DataFrame({"user": [3, 5]})
    assert isinstance(loaded.recommend(asked, k=2), polars.DataFrame)
    assert isinstance(loaded.recommend(asked["user"], k=2), polars.DataFrame)
    blocks = list(recommender.recommend_in_blocks(k=2, block=7))
    assert polars.concat(blocks).equals(found) and len(blocks) == 6


def test_ids_of_every_kind_make_columns_that_polars_can_use() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.from_pandas(renamed(lambda text: int(text[1:])))
    recommender = small(frame)
    want = recommender.recommend([5, 6], k=2)
    for kind in (polars.Decimal(38, 0), polars.Float64):
        found = recommender.recommend(polars.Series("user", [5, 6]).cast(kind), k=2)
        assert found["user"].dtype.is_numeric()
        assert found.with_columns(polars.col("user").cast(polars.Int64)).equals(want)
    found = recommender.recommend(["5", 6], k=2)
    assert found["user"].to_list() == ["5", "5", "6", "6"]
    found = recommender.recommend([*"5" * 1024, 6], k=2)  # two blocks, of texts and of numbers
    assert found["user"].to_list()[-3:] == ["5", "6", "6"]
    nobody = recommender.recommend(polars.Series("user", [], polars.Int64), k=2)
    assert nobody.schema == want.schema


def test_a_lazy_frame_is_told_what_it_lacks() -> None:
    polars = pytest.importorskip("polars")
    recommender = small(polars.from_pandas(renamed(lambda text: int(text[1:]))))
    users = polars.DataFrame({"user": [5]}).lazy()
    histories = polars.DataFrame({"user": [5], "item": [3]})
    for asked in ({"users": users}, {"histories": histories.lazy()}):
        with pytest.raises(DataError, match=r"give its .collect\(\)"):
            recommender.recommend(**asked, k=2)
    nested = histories.with_columns(user=polars.struct("item"))
    with pytest.raises(DataError, match=r"has \{'item': 3\} in the column 'user'"):
        recommender.recommend(histories=nested, k=2)


def test_a_block_without_rows_is_a_table_like_the_others() -> None:
    polars = pytest.importorskip("polars")
    rows = [(f"{u:03}", i, 10 * u + k) for u in range(20) for k, i in enumerate("abcd")]
    rows += [("new", i, k) for k, i in enumerate("efgh")]  # alone has not met a and b
    frame = polars.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    recommender = small(frame)
    asked: Any = {"k": 2, "candidates": ["a", "b"], "repeats": "forbid"}
    blocks = list(recommender.recommend_in_blocks(**asked, block=4))
    assert [len(block) for block in blocks] == [0, 0, 0, 0, 0, 2]
    assert polars.concat(blocks).equals(recommender.recommend(**asked))


def test_blocks_stay_with_the_model_they_began_with() -> None:
    recommender = small(log(), user="visitor", item="page", time="at", title="name")
    whole = recommender.recommend(k=3)
    blocks = recommender.recommend_in_blocks(k=3, block=15)
    found = [next(blocks)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        recommender.update(log()[:50].assign(page="quite new"), progress=False)
    pd.testing.assert_frame_equal(pd.concat([*found, *blocks], ignore_index=True), whole)


@pytest.mark.parametrize("model", MODELS)
def test_blocks_make_up_the_whole(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = fitted(model)
    whole = recommender.recommend(k=4)
    monkeypatch.setattr(recommendation, "SCORES_AT_ONCE", 500)  # four users at a time
    blocks = list(recommender.recommend_in_blocks(k=4, block=15))
    assert [block["user"].nunique() for block in blocks] == [15, 15, 10]
    joined = pd.concat(blocks, ignore_index=True)
    pd.testing.assert_frame_equal(joined, whole, check_exact=True)


def test_no_more_scores_than_a_block_has_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    recommender, seen = fitted("fmc"), []
    scores = recommender.model_.all_scores
    monkeypatch.setattr(recommendation, "SCORES_AT_ONCE", 1000)

    def watched(users: Any, histories: Any) -> Any:
        found = scores(users, histories)
        seen.append(found.size)
        return found

    monkeypatch.setattr(recommender.model_, "all_scores", watched)
    recommender.recommend(k=3)
    assert max(seen) <= 1000 and len(seen) > 3


# --- what may be recommended -----------------------------------------------------------------


def items_of(frame: Any) -> list[Any]:
    return frame["item"].tolist()


def test_candidates_and_exclude() -> None:
    recommender = fitted()
    asked: dict[str, Any] = {"histories": [["p3", "p9"]], "k": 3, "untrained": True}
    every = items_of(recommender.recommend(**{**asked, "k": 50}))
    few = every[40:20:-5]
    assert (
        items_of(recommender.recommend(**asked, candidates=few))
        == [i for i in every if i in few][:3]
    )
    assert (
        items_of(recommender.recommend(**asked, candidates=pd.DataFrame({"item": few[:1]})))
        == few[:1]
    )
    assert items_of(recommender.recommend(**asked, exclude=every[:2])) == every[2:5]
    with pytest.warns(DataWarning, match="1 of 2 candidates are not known: left out"):
        assert items_of(recommender.recommend(**asked, candidates=[every[7], "zz"])) == [every[7]]
    with pytest.warns(DataWarning, match="1 of 1 items to exclude are not known"):
        assert items_of(recommender.recommend(**asked, exclude=["zz"])) == every[:3]
    with pytest.raises(ConfigError, match="exclude is 'p3'; give a list of ids"):
        recommender.recommend(**asked, exclude="p3")


def test_items_without_a_train_action_are_left_out_unless_asked_for() -> None:
    late = pd.DataFrame([("u0", "late", START + 10**9, "Late")], columns=log().columns)
    frame = pd.concat([log(), late])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        recommender = Recommender("fmc", **settings_of("fmc")).fit(frame, **COLUMNS)
        never = {"histories": [["p3"]], "k": 10**6}
        assert "late" not in items_of(recommender.recommend(**never))
        assert "late" in items_of(recommender.recommend(**never, untrained=True))
        assert "late" not in recommender.similar_items(["p3"], k=10**6)["similar"].tolist()
    with pytest.warns(DataWarning, match="1 candidates have no train action"):
        recommender.recommend(histories=[["p3"]], candidates=["late", "p5"], k=1)
    with pytest.raises(DataError, match="no item is left to recommend"):
        recommender.recommend(histories=[["p3"]], candidates=["late"])


def test_repeats() -> None:
    recommender = fitted()
    asked = {"k": 10**6, "untrained": True}
    once, twice = ["p3", "p4"], ["p3", "p4", "p3"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        for rule, once_again, twice_again in (
            ("allow", True, True),
            ("forbid", False, False),
            ("auto", False, True),
            (None, False, False),  # the rule of this data
        ):
            found = recommender.recommend(["a", "b"], [once, twice], repeats=rule, **asked)
            lists = found.groupby("user")["item"].apply(set)
            assert [{"p3", "p4"} <= lists[user] for user in "ab"] == [once_again, twice_again]
            assert lists["a"].isdisjoint(once) is not once_again


# --- strangers, and histories of odd lengths -------------------------------------------------


def test_strangers_are_an_error_or_left_out() -> None:
    recommender = fitted()
    with pytest.raises(DataError, match="for somebody new give histories="):
        recommender.recommend(["u1", "nobody at all"])
    with pytest.warns(DataWarning, match="1 of 2 users are not known: left out"):
        found = recommender.recommend(["nobody at all", "u1"], k=2, unknown="skip")
    assert found["user"].tolist() == ["u1", "u1"]
    with pytest.warns(DataWarning, match="1 of 1 users"):
        found = recommender.recommend(["nobody at all"], unknown="skip")
    assert list(found.columns) == ["user", "item", "title", "score", "rank"] and not len(found)
    with pytest.warns(DataWarning, match="1 of 3 items are not known: left out"):
        skipped = recommender.recommend(histories=[["p3", "zz", "p4"]], k=3, unknown="skip")
    pd.testing.assert_frame_equal(skipped, recommender.recommend(histories=[["p3", "p4"]], k=3))


@pytest.mark.parametrize("model", [name for name, (kind, _) in MODELS.items() if kind.needs_user])
def test_a_model_with_a_vector_per_user_answers_for_known_users_only(model: str) -> None:
    recommender = fitted(model)
    with pytest.raises(DataError, match="none for row 0; name users that it knows"):
        recommender.recommend(histories=[["p3"]])
    with pytest.raises(DataError, match="none for user 'stranger'"):
        recommender.recommend(["u1", "stranger"], [["p3"], ["p3"]])
    with pytest.warns(DataWarning, match="knows nothing of 1 of 2 users: left out"):
        found = recommender.recommend(["u1", "stranger"], [["p3"], ["p3"]], k=2, unknown="skip")
    assert found["user"].tolist() == ["u1", "u1"]


@pytest.mark.parametrize(
    "model", [name for name, (kind, _) in MODELS.items() if not kind.needs_user]
)
def test_every_other_model_answers_for_a_history_of_a_stranger(model: str) -> None:
    found = fitted(model).recommend(["stranger"], [["p3", "p4"]], k=4)
    assert len(found) == 4 and {"p3", "p4"}.isdisjoint(found["item"])


def test_an_empty_history_gets_what_is_popular() -> None:
    recommender = fitted()
    with pytest.warns(DataWarning, match="1 of 2 histories are empty: recommended by popularity"):
        found = recommender.recommend(histories=[[], ["p3"]], k=3)
    counts = recommender.known.popularity
    order = np.argsort(-counts, kind="stable")[:3]
    first = found[found["row"] == 0]
    assert first["item"].tolist() == [recommender.known.item_ids[i] for i in order]
    assert first["score"].tolist() == counts[order].tolist()


def test_of_a_long_history_the_last_n_items_count_and_it_is_said_once() -> None:
    recommender = fitted()
    long = [f"p{i}" for i in sorted({int(item[1:]) for item in recommender.item_ids})[:14]]
    with pytest.warns(DataWarning, match="2 of 3 histories are longer than n = 10") as told:
        found = recommender.recommend(["a", "b", "c"], [long, ["p3"], long], k=3)
    assert len(told) == 1
    last = recommender.recommend(["a"], [long[-10:]], k=3, exclude=long)
    assert found[found["user"] == "a"]["item"].tolist() == last["item"].tolist()


def test_k_beyond_the_catalogue_is_a_shorter_list_and_a_note() -> None:
    with pytest.warns(DataWarning, match="k is 1,000, and .* lists are shorter"):
        found = fitted().recommend(["u1"], k=1000)
    met = {i for i, user in zip(log()["page"], log()["visitor"], strict=True) if user == "u1"}
    trained = int((fitted().known.popularity > 0).sum())
    assert trained - len(met) <= len(found) <= trained and met.isdisjoint(found["item"])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_threads_and_backend_are_its_own(threads: int, backend: str) -> None:
    import minisasrec

    before = minisasrec.backend(), minisasrec.thread_count()
    settings = {**settings_of("sasrec"), "threads": threads, "backend": backend}
    other = Recommender(**settings).fit(log(), **COLUMNS)
    assert (minisasrec.backend(), minisasrec.thread_count()) == before
    found, want = other.recommend(k=3), fitted().recommend(k=3)
    assert (found["item"] == want["item"]).mean() > 0.9  # the two backends round differently
