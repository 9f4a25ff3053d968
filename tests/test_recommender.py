"""The object that users take home: a log in, recommendations out, and a folder that is enough."""

from __future__ import annotations

import dataclasses
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shop import COLUMNS, START, fitted, log, settings_of

from minisasrec import MinisasrecError, Recommender, top_items
from minisasrec.data import DataWarning
from minisasrec.data.sequences import pack_sequences
from minisasrec.errors import CheckpointError, ConfigError, DataError
from minisasrec.evaluate import main as evaluate
from minisasrec.models import MODELS, SASRec, SASRecConfig, SequenceModel


@pytest.mark.parametrize("model", MODELS)
def test_it_says_what_top_items_says(model: str) -> None:
    recommender = fitted(model)
    known = recommender.known
    assert known.split is not None
    frame = recommender.recommend(k=7, untrained=True)
    assert list(frame.columns) == ["user", "item", "title", "score", "rank"]
    for number in (0, 7, 39):
        history = known.split.dataset.sequence(number).tolist()
        best = top_items(recommender.model_, history, 7, user=number, repeats=known.repeats)
        rows = frame[frame.user == known.user_ids[number]]
        assert rows["item"].tolist() == [known.item_ids[i] for i in best]
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7]
        assert (rows["score"].diff().dropna() <= 0).all()
        assert rows["title"].tolist() == [f"Page {known.item_ids[i][1:]}" for i in best]


@pytest.mark.parametrize("model", MODELS)
def test_what_is_saved_answers_alike_to_the_bit(model: str, tmp_path: Path) -> None:
    recommender = fitted(model)
    recommender.save(tmp_path / "taken" / "home")
    loaded = Recommender.load(tmp_path / "taken" / "home")
    pd.testing.assert_frame_equal(
        loaded.recommend(k=9), recommender.recommend(k=9), check_exact=True
    )
    assert loaded.item_ids == recommender.item_ids and loaded.user_ids == recommender.user_ids
    assert loaded.titles == recommender.titles and loaded.config == recommender.config


@pytest.mark.parametrize(
    "name", ["items.json", "users.json", "histories.safetensors", "best.safetensors", "config.json"]
)
@pytest.mark.parametrize("fault", ["cut", "flipped", "removed", "renamed", "empty"])
def test_a_damaged_folder_is_one_line(name: str, fault: str, tmp_path: Path) -> None:
    path = fitted().save(tmp_path / "home") / name
    content = path.read_bytes()
    if fault == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif fault == "renamed":
        path.rename(path.with_name("other"))
    else:
        path.unlink()
    with pytest.raises(CheckpointError) as caught:
        Recommender.load(path.parent)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    folder = fitted().save(tmp_path / "home")
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for at in rng.integers(len(content), size=12):
            flipped = bytes([content[at] ^ (1 << rng.integers(8))])
            path.write_bytes(content[:at] + flipped + content[at + 1 :])
            with pytest.raises(CheckpointError):
                Recommender.load(folder)
        path.write_bytes(content)
    Recommender.load(folder)


def test_a_newer_format_is_told(tmp_path: Path) -> None:
    from minisasrec.learn.runs import Run

    folder = fitted().save(tmp_path / "home")
    Run(folder).write_config({**Run(folder).read_config(), "format": 2})
    with pytest.raises(CheckpointError, match="has format 2, .* reads 1: upgrade minisasrec"):
        Recommender.load(folder)


def test_everything_is_trained_on_when_asked(tmp_path: Path) -> None:
    frame = log()
    last = ("u0", "only here", START + 999 * 86_400, "Last")
    held_out = pd.DataFrame([last], columns=frame.columns)
    frame = pd.concat([frame, held_out])
    part = Recommender(**settings_of("sasrec")).fit(frame, **COLUMNS)
    whole = Recommender(**settings_of("sasrec")).fit(frame, **COLUMNS, on="everything")
    everything = {"k": 999, "histories": [["p1"]]}
    with pytest.warns(DataWarning, match="k is 999"):
        assert "only here" not in part.recommend(**everything)["item"].tolist()
    with pytest.warns(DataWarning, match="k is 999"):
        assert "only here" in part.recommend(**everything, untrained=True)["item"].tolist()
    with pytest.warns(DataWarning, match="k is 999"):
        assert "only here" in whole.recommend(**everything)["item"].tolist()
    assert whole.known.on == "everything"
    assert whole.known.popularity.sum() == len(frame) > part.known.popularity.sum()


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"users": ["u99"]}, DataError, "no user 'u99' in frame; did you mean u9"),
        ({"users": "u1"}, ConfigError, r"users is 'u1'; give a list of ids, such as \['u1'\]"),
        ({"users": [None]}, DataError, "the user id is missing"),
        ({"histories": [["p1", "Page 5"]]}, DataError, "that is the title of item 'p5'"),
        ({"histories": ["p1", "p2"]}, ConfigError, r"list of lists of item ids, such as \[\['p1'"),
        ({"histories": [["p1"]], "users": ["a", "b"]}, ConfigError, "2 users and 1 histories"),
        ({"histories": log(3)}, DataError, "no column 'user'; its columns are visitor, page"),
        ({"k": 0}, ConfigError, "k is 0"),
        ({"k": True}, ConfigError, "k is True"),
        ({"candidates": ["x"]}, DataError, "none of the 1 candidates is known: no item 'x'"),
        ({"candidates": []}, DataError, "none of the 0 candidates is known"),
        ({"candidates": ["p1"], "exclude": ["p1"]}, DataError, "no item is left to recommend"),
        ({"repeats": "never"}, ConfigError, "repeats is 'never'"),
        ({"unknown": "guess"}, ConfigError, "unknown is 'guess'; choose one of error, skip"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    arguments: dict[str, Any], kind: type[MinisasrecError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        fitted().recommend(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [0, -1, True, 2.0, "2", None])
def test_a_wrong_number_is_one_line_in_every_method(bad: Any) -> None:
    recommender = fitted()
    calls = {
        "k": [
            lambda: recommender.recommend(k=bad),
            lambda: recommender.similar_items(["p1"], k=bad),
            lambda: recommender.explain(["p1", "p2"], k=bad),
        ],
        "epochs": [lambda: recommender.update(more(), epochs=bad, **UPDATE)],
    }
    for name, those in calls.items():
        for call in those:
            with pytest.raises(ConfigError, match=f"^{name} is {bad!r}; it must be a whole number"):
                call()


def test_explain_refuses_a_rule_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="repeats is 'never'; choose one of auto, allow, forbid"):
        fitted().explain(["p1", "p2"], repeats="never")  # type: ignore[arg-type]


def test_numbers_of_numpy_are_settings() -> None:
    made = [Recommender(seed=seed, lr=np.float64(0.01)) for seed in np.arange(2)]
    assert made[1].seed == 1 and made[1].get_params()["lr"] == 0.01
    with pytest.raises(ConfigError, match="seed is 1.5; int was expected"):
        Recommender(seed=np.float64(1.5))  # type: ignore[arg-type]


def test_before_fit() -> None:
    with pytest.raises(ConfigError, match="not fitted: call fit"):
        Recommender().recommend()
    assert repr(Recommender(d=8)) == "<Recommender('sasrec', d=8) not fitted>"
    with pytest.raises(ConfigError, match="dropuot is no setting of sasrec; did you mean dropout"):
        Recommender(dropuot=0.1)
    with pytest.raises(ConfigError, match="model is 'nope'"):
        Recommender("nope")


def test_defaults_are_those_of_the_command() -> None:
    from minisasrec.train import parse

    recommender = Recommender(epochs=1).fit(log(10), **COLUMNS)
    command = parse(["--dataset", "mine.csv", "--epochs", "1", "--seed", "0"])
    for field in dataclasses.fields(command):
        if field.name not in ("dataset", "columns"):
            assert getattr(recommender.config, field.name) == getattr(command, field.name)


# --- explanations and similar items ----------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_what_an_item_adds_is_the_score_with_it_minus_the_score_without(model: str) -> None:
    recommender = fitted(model)
    known, network = recommender.known, recommender.model_
    assert known.split is not None
    user, who = "u3", known.users.find(["u3"])
    numbers = known.split.dataset.sequence(who[0])[-network.n :]
    explained = recommender.explain(user=user, k=4)
    best = recommender.recommend([user], k=4)
    assert explained.recommended == best["title"].tolist() and explained.adds.shape[0] == 4
    first = explained.table[explained.table["rank"] == 1]
    assert first["past"].tolist() == [known.item_ids[i] for i in numbers]
    if len(numbers) == 1:
        assert np.isnan(explained.adds).all()
        return

    def score(history: np.ndarray, item: Any) -> float:
        number = known.items.find([item])[0]
        return float(network.all_scores(who, pack_sequences([history], network.n))[0, number])

    for position in (0, len(numbers) - 1):
        item = best["item"].iloc[0]
        adds = score(numbers, item) - score(np.delete(numbers, position), item)
        assert first["adds"].iloc[position] == pytest.approx(adds, abs=1e-5)


def test_attention_is_shown_by_block_and_head() -> None:
    settings = {**settings_of("sasrec"), "heads": 2, "blocks": 3, "dropout": 0.0}
    recommender = Recommender(**settings).fit(log(), **COLUMNS)
    explained = recommender.explain(["p1", "p5", "p6"], k=2)
    assert [weights.shape for weights in explained.attention] == [(2, 3, 3)] * 3
    for weights in explained.attention:
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        assert (np.triu(weights[0], k=1) == 0).all()
    assert len(explained.plot().axes) >= 6
    with pytest.raises(ConfigError, match="no attention to show"):
        fitted("fmc").explain(["p1", "p5"]).plot()
    with pytest.raises(ConfigError, match="give a history"):
        recommender.explain()


def test_similar_items_of_the_whole_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all items against all at once: of 50,000 items that would be 10 GB."""
    recommender = fitted("sasrec")
    items = recommender.item_ids
    whole = recommender.similar_items(items, k=2)
    monkeypatch.setattr("minisasrec.recommender.SCORES_AT_ONCE", 3 * len(items))
    assert whole["item"].tolist() == [item for item in items for _ in range(2)]
    pd.testing.assert_frame_equal(recommender.similar_items(items, k=2), whole, check_exact=True)


def test_similar_items_have_vectors_of_a_like_direction() -> None:
    recommender = fitted("sasrec")
    vectors = recommender.model_.item_vectors()[1:]
    found = recommender.similar_items(["p5", "p7"], k=3)
    assert found["item"].tolist() == ["p5"] * 3 + ["p7"] * 3
    place = {item: i for i, item in enumerate(recommender.item_ids)}
    for row in found.itertuples():
        a, b = vectors[place[row.item]], vectors[place[row.similar]]
        assert row.score == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)
        assert row.item != row.similar
    with pytest.raises(ConfigError, match="poprec has no vectors"):
        fitted("poprec").similar_items(["p5"])
    with pytest.raises(DataError, match="no item 'x'"):
        recommender.similar_items(["x"])


# --- going on with new data ------------------------------------------------------------------


def more(start: int = START + 99 * 86_400) -> pd.DataFrame:
    """Known users and new ones, on known pages and a new one that all of them come to."""
    rows = []
    for user in ("u1", "u2", "new 1", "new 2", "aaa"):
        for t, page in enumerate(("p3", "p900", "p4", "p900", "p5")):
            rows.append((user, page, start + t, f"Page {page[1:]}"))
    return pd.DataFrame(rows, columns=["visitor", "page", "at", "name"])


UPDATE = {name: value for name, value in COLUMNS.items() if name != "min_actions"}


@pytest.mark.parametrize("model", MODELS)
def test_update_goes_on_with_new_users_and_items(model: str, tmp_path: Path) -> None:
    fitted(model).save(tmp_path / "first")
    recommender = Recommender.load(tmp_path / "first")
    items, users = recommender.item_ids, recommender.user_ids
    before = {name: value.copy() for name, value in recommender.model_.state().items()}
    recommender.update(more(), epochs=1, on="everything", **UPDATE)
    assert recommender.item_ids == [*items, "p900"]
    assert recommender.user_ids == [*users, "aaa", "new 1", "new 2"]
    assert recommender.titles is not None and recommender.titles["p900"] == "Page 900"
    known = recommender.known
    assert known.split is not None
    sequence = known.split.dataset.sequence(users.index("u1"))
    assert [known.item_ids[i] for i in sequence[-5:]] == ["p3", "p900", "p4", "p900", "p5"]
    everything = recommender.recommend(users=["aaa", "u1", "u5"], k=50, repeats="allow")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        wide = recommender.recommend(users=["aaa", "u5"], k=999, repeats="allow")
    assert "p900" in wide["item"].tolist() and set(everything["user"]) == {"aaa", "u1", "u5"}
    if isinstance(recommender.model_, SequenceModel):
        after = recommender.model_.state()
        for name, value in before.items():  # it went on from where it was: one epoch moves little
            moved = np.abs(after[name][: len(value)] - value).max()
            assert moved < 0.2, name
        assert recommender.config == fitted(model).config
    recommender.save(tmp_path / "second")
    again = Recommender.load(tmp_path / "second")
    pd.testing.assert_frame_equal(again.recommend(k=5), recommender.recommend(k=5))


def test_update_holds_out_anew_and_says_what_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recommender = Recommender.load(fitted().save(tmp_path / "home"))
    recommender.update(more(), epochs=2, **{**UPDATE, "progress": True})
    told = capsys.readouterr().err
    assert "25 new actions, 3 new users, 1 new items; trained 2 epochs on" in told
    known = recommender.known
    assert known.split is not None and known.on == "train"
    assert known.item_ids[known.split.test[known.users.find(["aaa"])[0]]] == "p5"


def test_update_knows_the_columns_and_does_without_titles(tmp_path: Path) -> None:
    recommender = Recommender.load(fitted("fmc").save(tmp_path / "home"))
    untitled = more().drop(columns="name")
    recommender.update(untitled, epochs=1, on="everything", progress=False)
    assert recommender.titles is not None and recommender.titles["p900"] == "p900"
    assert recommender.titles["p3"] == "Page 3"


def test_actions_that_come_late_go_where_they_belong(tmp_path: Path) -> None:
    recommender = Recommender.load(fitted("markov").save(tmp_path / "home"))
    with_times = recommender.update(more(START - 9), **UPDATE).known.split
    assert with_times is not None
    sequence = with_times.dataset.sequence(recommender.user_ids.index("u1"))
    assert [recommender.known.item_ids[i] for i in sequence[:3]] == ["p3", "p900", "p4"]


@pytest.mark.parametrize(("old", "new"), [(1, 1000), (1000, 1), (10**6, 1000)])
def test_an_update_in_another_unit_of_time_is_put_right(old: int, new: int) -> None:
    """Else actions in seconds would all come before those in milliseconds, without a word."""
    known, late = log(), more(START + 3 * 86_400 + 9)  # in the middle of what is known
    want = Recommender("poprec").fit(known, **COLUMNS).update(late, **UPDATE).known.split
    made = Recommender("poprec").fit(known.assign(at=known["at"] * old), **COLUMNS)
    in_other = late.assign(at=late["at"] * new)
    with pytest.warns(DataWarning, match="times are in more than one unit and were put right"):
        found = made.update(in_other, **UPDATE).known.split
    assert want is not None and found is not None
    np.testing.assert_array_equal(found.dataset.items, want.dataset.items)


def test_an_update_may_bring_the_first_ids_of_text(tmp_path: Path) -> None:
    numbers = log()
    numbers = numbers.assign(visitor=numbers.visitor.str[1:].astype(int))
    recommender = Recommender("poprec").fit(numbers, **COLUMNS)
    assert recommender.user_ids[0] == 0
    with pytest.warns(DataWarning, match="the user ids were whole numbers, and a new one is text"):
        recommender.update(more(), **UPDATE)  # u1, u2, ...
    assert recommender.recommend(k=1)["user"].tolist() == [
        *map(str, range(40)),
        *sorted(set(more().visitor)),
    ]
    again = Recommender.load(recommender.save(tmp_path / "home"))
    assert again.user_ids == recommender.user_ids


def often() -> pd.DataFrame:
    """Known users who come to the page they came to before, again and again."""
    rows = [(f"u{user}", "p3", START + (99 + t) * 86_400) for user in range(40) for t in range(4)]
    return pd.DataFrame(rows, columns=["visitor", "page", "at"])


def test_the_rule_about_repeats_stays_whether_it_was_saved_or_not(tmp_path: Path) -> None:
    def made() -> Recommender:
        return Recommender("poprec").fit(log(), **COLUMNS)

    assert made().known.repeats == "forbid"
    anew = made().update(often(), repeats="auto", progress=False)
    assert anew.known.repeats == "allow"
    for recommender in (made(), Recommender.load(made().save(tmp_path / "home"))):
        with pytest.warns(DataWarning, match="repeats='forbid', as fit decided, stays"):
            recommender.update(often(), progress=False)
        assert recommender.known.repeats == "forbid"
        assert not (recommender.recommend(k=3)["item"] == "p3").any()
    with pytest.raises(ConfigError, match="repeats is 'never'"):
        made().update(often(), repeats="never", progress=False)


def test_an_update_may_come_in_another_form(tmp_path: Path) -> None:
    """A separator, a header and a folder are facts about one file, not about the next."""
    path = tmp_path / "log.txt"
    log().to_csv(path, sep="|", index=False)
    data = tmp_path / "data"
    data.mkdir()
    recommender = Recommender("poprec", data_dir=data)
    recommender.fit(path, separator="|", skip_lines=0, encoding="utf-8", **COLUMNS)
    folder = recommender.save(tmp_path / "home")
    data.rmdir()  # as on another machine
    more().to_parquet(tmp_path / "more.parquet")
    more().to_json(tmp_path / "more.jsonl", orient="records", lines=True)
    more().to_csv(tmp_path / "more.txt", sep="|", index=False)
    found = []
    for form in (more(), *(tmp_path / f"more.{name}" for name in ("parquet", "jsonl", "txt"))):
        again = Recommender.load(folder).update(form, progress=False)
        assert again.item_ids == [*recommender.item_ids, "p900"]
        found.append(again.known.fingerprint)
    assert len(set(found)) == 1
    with pytest.raises(DataError, match="a frame takes no separator"):
        Recommender.load(folder).update(more(), separator="|", progress=False)


def test_days_as_numbers_after_times_in_seconds_are_told() -> None:
    """20240601 is less than any time in seconds: all that is new would have come first."""
    dates = log().assign(at=pd.to_datetime(log()["at"], unit="s").dt.strftime("%Y-%m-%d"))
    recommender = Recommender("poprec").fit(dates, **COLUMNS)
    later = more().assign(at=20240601)
    with pytest.raises(DataError, match="not of one kind: only the known ones are seconds"):
        recommender.update(later, progress=False)
    recommender.update(later, time_format="%Y%m%d", progress=False)
    assert recommender.known.split is not None
    sequence = recommender.known.split.dataset.sequence(recommender.user_ids.index("u1"))
    assert [recommender.known.item_ids[i] for i in sequence[-2:]] == ["p900", "p5"]


def test_an_update_with_what_is_known_already_is_told() -> None:
    recommender = Recommender("poprec").fit(log(), **COLUMNS)
    overlapping = pd.concat([log()[:30], more()])
    with pytest.warns(DataWarning, match="30 of the 55 new actions are known already"):
        recommender.update(overlapping, progress=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "(?s).*known already", DataWarning)
        Recommender("poprec").fit(log(), **COLUMNS).update(more(), progress=False)


# --- scikit-learn's conventions --------------------------------------------------------------


def test_parameters_as_in_scikit_learn() -> None:
    recommender = Recommender("gru4rec", seed=3, d=8, epochs=2)
    assert recommender.get_params() == {"model": "gru4rec", "seed": 3, "d": 8, "epochs": 2}
    assert recommender.set_params(d=16, lr=0.01) is recommender
    assert recommender.get_params()["d"] == 16 and recommender.get_params()["lr"] == 0.01
    with pytest.raises(ConfigError, match="epochs is 0"):
        recommender.set_params(epochs=0)
    assert recommender.get_params()["epochs"] == 2
    base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed")
    copy = base.clone(recommender)
    assert copy is not recommender and copy.get_params() == recommender.get_params()
    assert "not fitted" in repr(base.clone(fitted("fmc")))


# --- measuring -------------------------------------------------------------------------------


def test_evaluate_has_the_rows_of_the_command(tmp_path: Path) -> None:
    from minisasrec.commands.cli import load_run
    from minisasrec.experiments.final_rows import final_rows
    from minisasrec.learn.machine import MachineOptions

    recommender = fitted()
    folder = recommender.save(tmp_path / "home")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        _, config, split, model = load_run(folder, MachineOptions())
        rows = final_rows(model, split, config, "valid")
        for which in (recommender, Recommender.load(folder)):
            found = which.evaluate("valid")
            assert found["model"].tolist() == [row["model"] for row in rows]
            assert found["NDCG@10"].tolist() == [row["NDCG@10"] for row in rows]
    assert {"sasrec", "poprec", "recentpop"} == set(found["model"])
    whole = Recommender("poprec").fit(log(), **COLUMNS, on="everything")
    with pytest.raises(ConfigError, match="trained on everything, so nothing is left"):
        whole.evaluate()
    recommender.save(tmp_path / "private", keep_histories=False)
    with pytest.raises(DataError, match="saved without histories"):
        Recommender.load(tmp_path / "private").evaluate()


@pytest.mark.parametrize("rule", ["allow", "forbid"])
def test_the_command_measures_by_the_rule_that_was_fitted(rule: str, tmp_path: Path) -> None:
    from minisasrec.commands.cli import load_run
    from minisasrec.learn.machine import MachineOptions

    recommender = Recommender("poprec").fit(log(), **COLUMNS, repeats=rule)
    folder = recommender.save(tmp_path / "home")
    _, config, split, _ = load_run(folder, MachineOptions())
    assert split.repeats == config.repeats == recommender.known.repeats == rule


def test_the_command_refuses_to_measure_what_was_trained_on(tmp_path: Path) -> None:
    folder = Recommender("poprec").fit(log(), on="everything", **COLUMNS).save(tmp_path / "home")
    with pytest.raises(ConfigError, match="trained on everything, so nothing is left to measure"):
        evaluate([str(folder)])


def test_a_split_by_time(tmp_path: Path) -> None:
    recommender = Recommender("markov", split="time:0.8").fit(log(), **COLUMNS)
    known = Recommender.load(recommender.save(tmp_path / "home")).known
    assert known.split is not None and known.split.rule == "time:0.8"
    pd.testing.assert_frame_equal(
        Recommender.load(tmp_path / "home").evaluate(protocols=["full"]),
        recommender.evaluate(protocols=["full"]),
    )


def test_one_protocol_needs_no_list() -> None:
    recommender = fitted("markov")
    one = recommender.evaluate(protocols="full")
    pd.testing.assert_frame_equal(one, recommender.evaluate(protocols=["full"]))
    for wrong in ("f", ["full", "f"]):
        with pytest.raises(ConfigError, match="protocols is 'f'; choose one of sampled, full"):
            recommender.evaluate(protocols=wrong)
    with pytest.raises(ConfigError, match="protocols is 7; choose one"):
        recommender.evaluate(protocols=7)


def test_a_seed_that_is_too_large_is_not_a_small_one() -> None:
    for call in (lambda seed: Recommender(seed=seed), partial(fitted("markov").evaluate, "test")):
        with pytest.raises(
            ConfigError, match="--seed is .* must be at most 18,446,744,073,709,551,615"
        ):
            call(seed=2**64)
    with pytest.raises(ConfigError, match="too large for a seed"):
        SASRec(5, SASRecConfig(n=4, d=4), seed=2**64)


def test_the_window_of_recent_popularity_is_kept() -> None:
    part, whole = (
        Recommender("recentpop").fit(log(), **COLUMNS, on=on) for on in ("train", "everything")
    )
    assert part.model_.days == whole.model_.days
