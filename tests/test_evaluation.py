"""Ranks, metrics, the three protocols, and models whose scores are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from strategies import make_split, random_split

from minisasrec.backends import use_backend
from minisasrec.commands.report import format_rows
from minisasrec.data import DATASETS
from minisasrec.data.sequences import pack_sequences
from minisasrec.data.split import NONE
from minisasrec.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ShapeError,
    TrainingError,
)
from minisasrec.experiments.final_rows import final_rows, users_drawn
from minisasrec.learn import metrics
from minisasrec.learn.config import from_json, make_model
from minisasrec.learn.evaluation import Evaluator, evaluate, negatives_left, usual_protocols
from minisasrec.learn.recommendation import top_items
from minisasrec.models import MODELS
from minisasrec.models.base import Model, SequenceModel
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.models.simple import MarkovChain, Popularity

PROTOCOLS = ["sampled", "full", "authors"]


class Scores(Model):
    """Scores given by a function of the users' numbers and the items' ids."""

    def __init__(self, split, function, n=50):
        self.num_items, self.n, self.function = split.dataset.num_items, n, function
        self.histories = []

    def all_scores(self, users, histories):
        self.histories += [
            histories.items[start:end].tolist()
            for start, end in zip(histories.offsets[:-1], histories.offsets[1:], strict=True)
        ]
        items = np.arange(self.num_items + 1)
        return np.zeros((len(users), len(items))) + self.function(users[:, None], items)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("wrong", [[[1, 6], [2, 3]], [[1, -1], [2, 3]], [[1, 2]], [[1.5], [2]]])
def test_candidates_that_are_no_items(backend, wrong):
    model = SASRec(5, SASRecConfig(n=4, d=8, blocks=1))
    histories = pack_sequences([[1, 2], [3]], 4)
    with use_backend(backend):
        with pytest.raises(ShapeError, match="gather_dot: ids"):
            model.candidate_scores(np.array([0, 1]), histories, wrong)
        found = model.candidate_scores(np.array([0, 1]), histories, [[1, 2], [5, 4]])
        whole = model.all_scores(np.array([0, 1]), histories)
    np.testing.assert_allclose(found, [whole[0, [1, 2]], whole[1, [5, 4]]], rtol=1e-5)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_model_may_mix_types(backend):
    class Mixed(SequenceModel):
        n = 4

        def encode(self, users, histories):
            return np.ones((len(users), 2), np.float32)

        def item_vectors(self):
            return np.arange(12.0).reshape(6, 2)

    histories, users = pack_sequences([[1, 2], [3]], 4), np.array([0, 1])
    with use_backend(backend):
        found = Mixed().candidate_scores(users, histories, np.array([[1, 2], [5, 4]]))
    np.testing.assert_allclose(found, [[5, 9], [21, 17]])


@pytest.fixture(scope="module")
def split():
    return random_split(users=50, num_items=150, longest=20, repeated=False)


# --- metrics by hand -------------------------------------------------------------------------


def test_ranks():
    scores = np.array(
        [
            [5.0, 1, 2, 3],  # best
            [1.0, 5, 5, 3],  # last
            [2.0, 3, 1, 0],  # second
            [2.0, 2, 1, 0],  # tied for 1 and 2
            [2.0, 2, 2, 2],  # tied for 1 to 4
            [0.0, 1, 0, 0],  # tied for 2 to 4
            [-np.inf, -np.inf, 0, 0],
        ]
    )
    assert metrics.rank_of_first(scores).tolist() == [1, 4, 2, 1.5, 2.5, 3, 3.5]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 2, 101, 70_000])
def test_the_kernel_ranks_as_numpy_does(columns, kind):
    rng = np.random.default_rng(columns)
    scores = rng.integers(0, 9, (5, columns)).astype(kind)  # many are equal
    scores[0, -1], scores[1, 0] = np.inf, -np.inf
    with use_backend("numpy"):
        want = metrics.rank_of_first(scores)
    np.testing.assert_array_equal(metrics.rank_of_first(scores), want)
    for place in (0, columns - 1):
        scores[3] = 1
        scores[3, place] = np.nan
        with pytest.raises(TrainingError, match="NaN"):
            metrics.rank_of_first(scores)


def test_metrics_by_hand():
    ranking = metrics.Ranking(np.array([1, 2, 3, 10, 11, 100, np.inf]))
    assert metrics.HitRate().over_all(ranking) == pytest.approx(4 / 7)
    assert metrics.HitRate(2).over_all(ranking) == pytest.approx(2 / 7)
    gains = [1, 1 / np.log2(3), 1 / 2, 1 / np.log2(11), 0, 0, 0]
    assert metrics.NDCG().by_user(ranking) == pytest.approx(gains)
    assert metrics.NDCG().over_all(ranking) == pytest.approx(sum(gains) / 7)
    assert metrics.NDCG(1).over_all(ranking) == pytest.approx(1 / 7)
    reciprocal = 1 + 1 / 2 + 1 / 3 + 0.1 + 1 / 11 + 0.01
    assert metrics.MRR().over_all(ranking) == pytest.approx(reciprocal / 7)
    assert metrics.all_metrics(ranking, 5) == {
        "HR@5": metrics.HitRate(5).over_all(ranking),
        "NDCG@5": metrics.NDCG(5).over_all(ranking),
        "MRR": metrics.MRR().over_all(ranking),
    }
    assert metrics.labels(5) == ["HR@5", "NDCG@5", "MRR", "coverage@5", "novelty@5"]


def test_coverage_by_hand():
    items = np.array([[1, 2, 3], [2, 1, 9], [4, 0, 0]])
    ranking = metrics.Ranking(np.ones(3), items, num_items=10)
    for k, share in ((1, 0.3), (2, 0.3), (3, 0.5)):  # 1 2 4; 1 2 4; 1 2 3 4 9
        assert metrics.Coverage(k).over_all(ranking) == pytest.approx(share)
    assert "coverage@3" in metrics.all_metrics(ranking, 3)
    assert "coverage@4" not in metrics.all_metrics(ranking, 4)  # the lists are too short
    with pytest.raises(TypeError, match="coverage@3 has one value over all users"):
        metrics.Coverage(3).by_user(ranking)


@pytest.mark.parametrize("repeats", ["allow", "forbid"])
def test_lists_are_those_of_top_items(repeats):
    split = random_split(users=40, num_items=25, longest=30, repeats=repeats)
    coarse = np.random.default_rng(0).integers(0, 4, (40, 26))  # with many equal scores
    model = Scores(split, lambda users, items: coarse[users, items])
    for lists in (1, 10, 25, 99):
        found = evaluate(model, split, "test", "full", lists=lists)
        assert found.items.shape == (len(found.users), min(lists, 25))
        for user, row in zip(found.users, found.items, strict=True):
            history = split.history(user, "test").tolist()
            best = top_items(model, history, lists, user=user, repeats=repeats)
            assert row[row > 0].tolist() == best
            left = range(1, 26) if repeats == "allow" else set(range(1, 26)) - set(history)
            assert best == sorted(left, key=lambda i, user=user: (-coarse[user, i], i))[:lists]
    found = evaluate(model, split, "test", "full", lists=10)
    shown = {item for row in found.items.tolist() for item in row if item}
    assert found.metrics()["coverage@10"] == len(shown) / 25
    without = evaluate(model, split, "test", "full")
    assert without.items is None and "coverage@10" not in without.metrics()
    np.testing.assert_array_equal(without.ranks, found.ranks)


def test_novelty_by_hand():
    """Bits: an item with a quarter of the train actions is worth two, with a half one."""
    popularity = np.array([0, 8, 4, 2, 1, 0, 1])  # 16 train actions; item 5 has none
    items = np.array([[1, 2, 3], [5, 1, 0]])  # the second list ends after two
    ranking = metrics.Ranking(np.ones(2), items, 6, popularity)
    assert metrics.Novelty(1).over_all(ranking) == pytest.approx((1 + 4) / 2)
    assert metrics.Novelty(3).over_all(ranking) == pytest.approx((1 + 2 + 3 + 4 + 1) / 5)
    assert "novelty@3" in metrics.all_metrics(ranking, 3)
    assert "novelty@4" not in metrics.all_metrics(ranking, 4)  # the lists are too short
    assert "novelty@3" not in metrics.all_metrics(metrics.Ranking(np.ones(2), items, 6), 3)
    nothing = metrics.Ranking(np.ones(2), np.zeros((2, 3), int), 6, popularity)
    assert metrics.Novelty(3).over_all(nothing) == 0
    assert np.log2(16) >= metrics.Novelty(3).over_all(ranking)  # the most: a single action


def test_novelty_of_popularity_is_the_lowest(split):
    """Whoever recommends the most popular items recommends the least news."""
    found = {}
    for name, scores in (
        ("poprec", lambda users, items: split.popularity()[items]),
        ("rare", lambda users, items: -split.popularity()[items]),
        ("by number", lambda users, items: items),
    ):
        found[name] = evaluate(Scores(split, scores), split, "test", "full", lists=10).metrics()
    order = sorted(found, key=lambda name: found[name]["novelty@10"])
    assert order == ["poprec", "by number", "rare"]


def test_a_new_metric_is_one_class(monkeypatch, split):
    class MeanRankInTheCatalogue(metrics.Metric):
        name, cut_off = "mean rank in the catalogue", False

        def by_user(self, ranking):
            return ranking.ranks / ranking.num_items

    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, MeanRankInTheCatalogue))
    config = from_json({"model": "poprec"})
    rows = final_rows(make_model(config, split), split, config)
    table = format_rows(rows).splitlines()
    assert "sampled" in table[1] and "full" in table[3] and "HR@10" in table[0]
    for name in ("coverage@10", "mean rank in the catalogue"):
        assert f"  {name}" in table[0] and name in rows[-1]
    assert len(table[0]) == len(table[1]) == len(table[2])
    assert "coverage@10" not in rows[0]  # sampled: nothing is known of lists


def test_the_papers_figures_stand_beside_its_own_data_alone(monkeypatch, split):
    """A log of one's own may be called steam.csv, and of public data there are variants."""
    named = replace(split, dataset=replace(split.dataset, name="steam"))
    config = from_json({"model": "poprec"})

    def shown() -> list[str]:
        rows = final_rows(make_model(config, named), named, config)
        return [row["protocol"] for row in rows if row["model"] == "paper, Table III"]

    assert shown() == []
    data, spec = named.dataset, DATASETS["steam"]
    counts = (data.num_users, data.num_items, data.num_actions)
    forms = (*spec.forms, replace(spec.forms[0], counts=counts))
    monkeypatch.setitem(DATASETS, "steam", replace(spec, forms=forms))
    assert shown() == ["sampled"]


def test_random_scores_are_at_chance():
    scores = np.random.default_rng(0).standard_normal((100_000, 101))
    found = metrics.all_metrics(metrics.Ranking(metrics.rank_of_first(scores)))
    # 10 of 101, and the mean gain of the first ten ranks
    assert found["HR@10"] == pytest.approx(0.0990, abs=0.004)
    assert found["NDCG@10"] == pytest.approx(0.0450, abs=0.002)


# --- models whose ranks are known ------------------------------------------------------------


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_oracle_is_perfect_and_its_opposite_hopeless(split, part, protocol):
    targets = split.targets(part)
    best = Scores(split, lambda users, items: (items == targets[users]) * 1.0)
    found = evaluate(best, split, part, protocol)
    if protocol == "authors":  # the target can be among its own negatives, and then ties
        assert found.metrics()["HR@10"] > 0.99
    else:
        assert (found.ranks == 1).all() and set(found.metrics().values()) == {1.0}
    assert (found.protocol, found.part) == (protocol, part)
    assert found.candidates == (150 if protocol == "full" else 101)
    worst = Scores(split, lambda users, items: (items != targets[users]) * 1.0)
    assert evaluate(worst, split, part, protocol).metrics()["HR@10"] == 0


def test_equal_scores_are_in_the_middle(split):
    same = Scores(split, lambda users, items: 0.0)
    assert set(evaluate(same, split).ranks) == {51}
    found = evaluate(same, split, "test", "full")
    for user, rank in zip(found.users, found.ranks, strict=True):
        history, target = split.history(user, "test"), split.test[user]
        left = len(set(range(1, 151)) - set(history.tolist()))
        assert target not in history
        assert rank == (left + 1) / 2


def test_a_random_model_is_at_chance():
    split = random_split(users=3000, num_items=300, longest=10)
    noise = np.random.default_rng(1).standard_normal((3000, 301))
    model = Scores(split, lambda users, items: noise[users, items])
    for protocol in ("sampled", "authors"):
        found = evaluate(model, split, protocol=protocol).metrics()
        assert found["HR@10"] == pytest.approx(10 / 101, abs=4 * np.sqrt(0.099 * 0.901 / 3000))
        assert found["NDCG@10"] == pytest.approx(0.0450, abs=0.009)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_score_that_is_nan(split, protocol):
    model = Scores(split, lambda users, items: np.where(users == 7, np.nan, items))
    with pytest.raises(TrainingError, match="a score is NaN: the model has diverged"):
        evaluate(model, split, protocol=protocol)


# --- what the model sees ---------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("part", ["valid", "test"])
def test_the_history_holds_everything_before_the_target(split, part, protocol):
    model = Scores(split, lambda users, items: 0.0, n=6)
    found = evaluate(model, split, part, protocol)
    want = [split.history(user, part)[-6:].tolist() for user in found.users]
    assert model.histories == want
    sequence = split.dataset.sequence(0).tolist()
    assert want[0][-1] == sequence[-2 if part == "test" else -3]


# --- sampled ---------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["valid", "test"])
def test_sampled_candidates(split, part):
    evaluator = Evaluator(split, part, negatives=100)
    candidates = evaluator.candidates
    assert candidates.shape == (50, 101)
    np.testing.assert_array_equal(candidates[:, 0], split.targets(part))
    for user, row in zip(evaluator.users, candidates, strict=True):
        negatives = set(row[1:].tolist())
        assert len(negatives) == 100 and min(negatives) >= 1 and max(negatives) <= 150
        assert not negatives & set(split.dataset.sequence(user).tolist())  # held-out ones, too


def test_sampled_candidates_follow_the_seed(split):
    def drawn(**change):
        return Evaluator(split, **{"negatives": 20, "seed": 1, **change}).candidates[:, 1:]

    np.testing.assert_array_equal(drawn(), drawn())
    np.testing.assert_array_equal(drawn(), drawn(part="test"))  # the same for both parts
    assert (drawn() != drawn(seed=2)).mean() > 0.9


def test_sampled_candidates_are_uniform():
    split = make_split([[1, 2, 3]] * 400, 40)
    candidates = Evaluator(split, negatives=10).candidates[:, 1:]
    counts = np.bincount(candidates.ravel(), minlength=41)
    assert not counts[:4].any()
    expected = candidates.size / 37
    assert abs(((counts[4:] - expected) ** 2 / expected).sum() - 36) < 4 * np.sqrt(2 * 36)


def test_every_item_left_can_be_asked_for():
    split = make_split([[1, 2, 3], [4, 5, 6, 7]], 14)
    row = Evaluator(split, negatives=10).candidates[1, 1:]
    assert set(row) == {1, 2, 3, *range(8, 15)}
    with pytest.raises(ConfigError, match="11 negatives asked for, .* met all but 10 of"):
        Evaluator(split, negatives=11)


def test_only_users_who_are_ranked_need_negatives():
    split = make_split([[1, 2, 3, 4, 5, 6], [1, 2, 3], [4, 5, 6]], 6)
    nobody = split.test_at.copy()
    nobody[0] = NONE  # has met all six
    candidates = Evaluator(replace(split, test_at=nobody), "test", negatives=3).candidates
    assert [set(row[1:]) for row in candidates] == [{4, 5, 6}, {1, 2, 3}]
    with pytest.raises(ConfigError, match=r"a user has met all but 0 of 6 .* full protocol"):
        Evaluator(split, "test", negatives=3)


@pytest.mark.parametrize("batch_size", [1, 512])
@pytest.mark.parametrize("lists", [0, 2])
def test_a_target_that_a_model_cannot_score_ties_with_candidates_alone(batch_size, lists):
    split = make_split([[1, 2, 3], [2, 3, 4], [5, 1, 2]], 6)
    model = Scores(split, lambda users, items: np.where(items == 1, 0.0, -np.inf))
    found = Evaluator(split, "test", "full", batch_size=batch_size, lists=lists)(model)
    # left for each: 4 5 6 beside the target 3; 1 5 6, of which 1 is ahead; 3 4 6
    np.testing.assert_array_equal(found.ranks, [2.5, 3.0, 2.5])
    if lists:
        np.testing.assert_array_equal(found.items, [[0, 0], [1, 0], [0, 0]])


def test_repeated_actions_are_met_once():
    split = make_split([[1, 2] * 30 + [3], [4, 5, 6]], 20)
    assert Evaluator(split, negatives=15).candidates.shape == (2, 16)


def test_the_same_candidates_for_every_model(split):
    evaluator = Evaluator(split)
    before = evaluator.candidates.copy()
    ranks = [evaluator(Scores(split, lambda users, items: items)).ranks for _ in range(2)]
    np.testing.assert_array_equal(*ranks)
    np.testing.assert_array_equal(evaluator.candidates, before)
    want = 1 + (before[:, 1:] > before[:, :1]).sum(axis=1)
    np.testing.assert_array_equal(ranks[0], want)


# --- full ------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("batch_size", [7, 512])
def test_full_ranks_all_items_not_met(split, part, batch_size):
    noise = np.random.default_rng(0).standard_normal((50, 151))
    noise[:, 0] = 100  # padding would win
    model = Scores(split, lambda users, items: noise[users, items])
    found = Evaluator(split, part, "full", batch_size=batch_size)(model)
    for user, rank in zip(found.users, found.ranks, strict=True):
        target = split.targets(part)[user]
        met = {0, *split.history(user, part).tolist()} - {target}
        others = [noise[user, i] for i in range(151) if i not in met and i != target]
        assert rank == 1 + sum(score > noise[user, target] for score in others)


# --- items met before: one rule for evaluation and recommendation ------------------------------


class MetBefore(Model):
    """Knows what a user has met and nothing else: met items in random order, then the others."""

    def __init__(self, split, seed=0):
        self.n, self.num_items = 50, split.dataset.num_items
        self.random = np.random.default_rng(seed)

    def all_scores(self, users, histories):
        scores = self.random.random((len(users), self.num_items + 1))
        scores[np.repeat(np.arange(len(users)), np.diff(histories.offsets)), histories.items] += 1
        return scores


def visits(pages, repeats="auto", users=600):
    """Everybody sees the same five of all pages again and again, at random."""
    random = np.random.default_rng(0)
    sequences = []
    for _ in range(users):
        own = 1 + random.permutation(pages)[:5]
        sequences.append([*own, *random.choice(own, 15)])
    return make_split(sequences, pages, repeats)


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("protocol", ["sampled", "full"])
def test_knowing_what_was_met_is_not_enough_where_repeats_are_allowed(protocol, part):
    split = visits(101)  # 100 negatives and the target are all pages: both protocols are one
    assert split.repeats == "allow"
    found = evaluate(MetBefore(split), split, part, protocol)
    assert found.metrics(1)["HR@1"] == pytest.approx(1 / 5, abs=4 * np.sqrt(0.16 / 600))
    assert set(found.ranks) == {1, 2, 3, 4, 5}


def test_of_sampled_candidates_as_many_were_met_as_chance_has_it():
    split = visits(400)
    evaluator = Evaluator(split, "test")
    for user, row in zip(evaluator.users, evaluator.candidates, strict=True):
        assert row[0] == split.test[user] and len(set(row)) == 101  # distinct, the target once
        assert row.min() >= 1 and row.max() <= 400
    rows = zip(evaluator.users, evaluator.candidates, strict=True)
    own = np.array([np.isin(row[1:], split.history(u, "test")).sum() for u, row in rows])
    # four more of 399 pages were met, 100 are drawn: hypergeometric
    assert own.mean() == pytest.approx(400 / 399, abs=4 * np.sqrt(0.75 / 600))
    counts = np.bincount(evaluator.candidates[:, 1:].ravel(), minlength=401)[1:]
    expected = 600 * 100 / 400
    assert abs(((counts - expected) ** 2 / expected).sum() - 399) < 5 * np.sqrt(2 * 399)


def test_the_authors_candidates_may_have_been_met_where_repeats_are_allowed():
    split = visits(130)
    evaluator = Evaluator(split, "test", "authors")
    hits = evaluator(MetBefore(split)).metrics(1)["HR@1"]
    rows = zip(evaluator.users, evaluator.candidates, strict=True)
    met = [np.isin(row[1:], split.train_sequence(u)).mean() for u, row in rows]
    assert np.mean(met) == pytest.approx(5 / 130, abs=0.004)
    assert hits < 0.4  # 1 if the target were the only one that was met


def test_every_other_item_can_be_asked_for_where_repeats_are_allowed():
    split = make_split([[1, 2, 3, 2, 1], [4, 5, 6, 7, 4]], 12, "allow")
    assert negatives_left(split) == 11
    rows = Evaluator(split, "test", negatives=11).candidates
    assert [set(row) for row in rows] == [set(range(1, 13))] * 2
    with pytest.raises(ConfigError, match="12 negatives asked for, but the catalogue has 12 items"):
        Evaluator(split, negatives=12)


def test_a_user_who_has_met_everything_can_be_evaluated_where_repeats_are_allowed():
    split = make_split([[1, 2, 3, 1, 2, 3]], 3, "allow")
    model = Scores(split, lambda users, items: -items)
    assert evaluate(model, split, "test", "full").ranks.tolist() == [3]


@pytest.mark.parametrize("protocol", ["sampled", "full"])
def test_a_target_met_before_is_a_miss_where_repeats_are_forbidden(protocol):
    # user 0 meets both held-out items again, user 1 the last one, user 2 none
    sequences = [[1, 2, 3, 4, 2, 1], [1, 2, 3, 4, 1], [1, 2, 3, 4, 5]]
    split = make_split(sequences, 120, "forbid")
    targets = split.targets("test")
    best = Scores(split, lambda users, items: (items == targets[users]) * 1.0)
    found = evaluate(best, split, "test", protocol)
    assert found.ranks.tolist() == [np.inf, np.inf, 1]
    assert found.metrics() == {"HR@10": 1 / 3, "NDCG@10": 1 / 3, "MRR": 1 / 3}
    model = Scores(split, lambda users, items: -items)
    assert evaluate(model, split, "valid", protocol).ranks.tolist()[0] == np.inf
    assert evaluate(model, split, "valid", protocol).ranks.tolist()[1:] == [1, 1]


@pytest.mark.parametrize("repeats", ["allow", "forbid"])
@pytest.mark.parametrize("part", ["valid", "test"])
def test_full_ranking_is_what_recommendation_does(repeats, part):
    split = random_split(users=60, num_items=25, longest=20, repeats=repeats)
    noise = np.random.default_rng(0).standard_normal((60, 26))
    model = Scores(split, lambda users, items: noise[users, items])
    found = evaluate(model, split, part, "full")
    assert 0 < split.met_before(part)[found.users].mean() < 1
    for user, rank in zip(found.users, found.ranks, strict=True):
        history = split.history(user, part).tolist()
        best = top_items(model, history, 25, user=user, repeats=repeats)
        target = split.targets(part)[user]
        assert rank == (best.index(target) + 1 if target in best else np.inf)
        assert len(best) == (25 if repeats == "allow" else 25 - len(set(history)))


def test_top_items_refuses_what_makes_no_list(split):
    model = Scores(split, lambda users, items: items)
    assert top_items(model, [150, 3], 3) == [149, 148, 147]
    assert top_items(model, [150, 3], 3, repeats="allow") == [150, 149, 148]
    assert top_items(model, [150, 3, 150], 3) == [150, 149, 148]  # this user comes back to items
    with pytest.raises(ConfigError, match="repeats is 'never'; choose one of auto, allow, forbid"):
        top_items(model, [3], repeats="never")
    with pytest.raises(ConfigError, match="k is 0"):
        top_items(model, [3], 0)
    with pytest.raises(DataError, match="needs at least one item"):
        top_items(model, [])
    nan = Scores(split, lambda users, items: np.where(items == 7, np.nan, items))
    with pytest.raises(TrainingError, match="a score is NaN"):
        top_items(nan, [3])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "history", [[0, 0, 5, 7], [5, 7, 0], [5, 7.5], [5, -1], [5, 151], [5, 2**40]]
)
def test_no_model_takes_a_history_that_holds_what_is_no_item(split, name, history):
    model = make_model(from_json({"model": name}), split)
    with pytest.raises(DataError, match="item 0 is padding|from 1 to 150, the size of the catalog"):
        top_items(model, history, user=3)
    assert top_items(model, [5.0, 7.0], user=3) == top_items(model, [5, 7], user=3)


def test_the_usual_protocols_under_both_rules():
    sequences = [[1, 2, 3], list(range(1, 51)) + [1, 2]]
    for num_items, forbid, allow in (
        (150, ("sampled", "full"), ("sampled", "full")),
        (149, ("full",), ("sampled", "full")),
        (100, ("full",), ("full",)),
    ):
        assert usual_protocols(make_split(sequences, num_items, "forbid")) == forbid
        assert usual_protocols(make_split(sequences, num_items, "allow")) == allow


# --- authors ---------------------------------------------------------------------------------


def test_the_authors_candidates():
    split = random_split(users=300, num_items=40, longest=12)
    evaluator = Evaluator(split, "test", "authors")
    model = Scores(split, lambda users, items: items)
    evaluator(model)
    first = evaluator.candidates.copy()
    for user, row in zip(evaluator.users, first, strict=True):
        assert row[0] == split.test[user] and row.min() >= 1
        assert not set(row[1:]) & set(split.train_sequence(user).tolist())
    users = evaluator.users
    assert (first[:, 1:] == split.valid[users][:, None]).any()  # the validation item may be there
    assert (first[:, 1:] == split.test[users][:, None]).any()  # and the target
    assert all(len(set(row[1:])) < 100 for row in first)  # with replacement: 40 items, 100 draws
    evaluator(model)
    assert (evaluator.candidates != first).mean() > 0.9  # drawn anew
    again = Evaluator(split, "test", "authors")
    again(model)
    np.testing.assert_array_equal(again.candidates, first)  # but reproducible


def test_the_authors_ranks_are_whole_numbers(split):
    found = Evaluator(split, "test", "authors")
    ranks = found(Scores(split, lambda users, items: items)).ranks
    others, target = found.candidates[:, 1:], found.candidates[:, :1]
    low = 1 + (others > target).sum(axis=1)
    assert ((low <= ranks) & (ranks <= low + (others == target).sum(axis=1))).all()
    ties = Evaluator(split, "test", "authors")(Scores(split, lambda users, items: 0.0)).ranks
    assert (ties == ties.astype(int)).all()


# --- which users -----------------------------------------------------------------------------


def test_users_are_those_with_a_held_out_item():
    split = make_split([[1, 2], [1, 2, 3], [4], [3, 2, 1, 4]], 20)
    found = evaluate(Scores(split, lambda users, items: 0.0), split, protocol="full")
    assert found.users.tolist() == [1, 3]
    with pytest.raises(DataError, match="tiny: no user has three actions"):
        Evaluator(make_split([[1, 2], [3]], 5))


def test_a_sample_of_the_users(split):
    def users(**change):
        return Evaluator(split, **{"max_users": 20, "negatives": 10, **change}).users

    assert len(users()) == 20 and (np.diff(users()) > 0).all()
    np.testing.assert_array_equal(users(), users(part="test"))
    assert set(users()) != set(users(seed=1))
    assert len(users(max_users=0)) == len(users(max_users=50)) == 50
    assert users_drawn(split, "test", 20) == "20 of 50 users, drawn at random"
    assert users_drawn(split, "test", 0) == users_drawn(split, "test", 50) == ""
    # the candidates of a user do not depend on who else is evaluated
    few, all_of_them = (Evaluator(split, max_users=m, negatives=10) for m in (20, 0))
    np.testing.assert_array_equal(few.candidates, all_of_them.candidates[few.users])


def test_the_choice_of_users_says_nothing_about_their_candidates():
    """They are drawn from two streams of random numbers; from one, this is 100 of 100."""
    split = make_split([[1, 2, 3]] * 6400, 300)
    agree = total = 0
    for seed in range(8):
        evaluator = Evaluator(split, max_users=3200, seed=seed)
        if evaluator.users[0] != 0:
            continue
        # user 64 s was chosen by the number that would then have drawn candidate s of user 0
        chosen = np.isin(64 * np.arange(100), evaluator.users)
        agree += int((chosen == (evaluator.candidates[0, 1:] <= 150)).sum())
        total += 100
    assert total >= 200
    assert abs(agree / total - 0.5) < 4 * np.sqrt(0.25 / total)


def test_an_unknown_protocol(split):
    with pytest.raises(ConfigError, match="protocol is 'fast'; choose one of sampled, full, auth"):
        Evaluator(split, protocol="fast")


# --- models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_backends_and_batch_sizes_rank_alike(split, protocol):
    model = SASRec(150, SASRecConfig(n=10, d=8, dropout=0.5))
    ranks = []
    for backend, size in (("numpy", 512), ("numba", 512), ("numpy", 7), ("numba", 7)):
        with use_backend(backend):
            ranks.append(Evaluator(split, "test", protocol, batch_size=size)(model).ranks)
    for other in ranks[1:]:
        assert (other == ranks[0]).mean() > 0.95  # a rounding may swap two close scores
        assert np.abs(other - ranks[0]).max() <= 2


def test_scores_that_a_model_keeps_are_not_written_to(split):
    class Keeps(Scores):
        kept = np.random.default_rng(0).normal(size=(50, 151))

        def all_scores(self, users, histories):
            return self.kept

    before = Keeps.kept.copy()
    Evaluator(split, "test", "full")(Keeps(split, None))
    np.testing.assert_array_equal(Keeps.kept, before)


def test_the_usual_protocols_follow_from_what_is_left_unmet():
    sequences = [[1, 2, 3], [5, 6, 7, 8, 5, 6]]  # the second user has met four
    for num_items, enough in ((107, True), (104, True), (103, False), (99, False)):
        split = make_split(sequences, num_items)
        assert usual_protocols(split) == (("sampled", "full") if enough else ("full",))
        if enough:
            Evaluator(split, "test", "sampled")
        else:
            assert negatives_left(split) == num_items - 4
            with pytest.raises(ConfigError):
                Evaluator(split, "test", "sampled")


def test_popularity():
    split = make_split([[1, 2, 1, 5, 4], [2, 2, 3, 5, 5], [1, 5]], 6)
    model = Popularity(split)
    scores = model.all_scores(np.arange(2), pack_sequences([[1], [2]], model.n))
    assert scores.tolist() == [[0, 3, 3, 1, 0, 1, 0]] * 2  # held-out 5, 4 do not count


def test_the_markov_chain():
    # 1 -> 2 twice, 1 -> 3 once; 2 -> 3 three times; the last two of each are held out
    split = make_split([[1, 2, 3, 9, 9], [1, 2, 3, 9, 9], [1, 3, 2, 3, 9, 9]], 9)
    model = MarkovChain(split, length=2, decay=0.5)
    (scores,) = model.all_scores(np.arange(1), pack_sequences([[2, 1]], model.n))
    # the last item 1 counts 1, the item 2 before it counts .5
    np.testing.assert_allclose(scores[[2, 3]], [2 / 3, 1 / 3 + 0.5 * 1], atol=1e-5)
    assert scores[9] == 0 and 0 < scores[1] <= 1e-6  # only a trace for what never followed
    (seven,) = model.all_scores(np.arange(1), pack_sequences([[7]], model.n))
    assert seven.argmax() == 3 and seven.max() <= 1e-6
    other = MarkovChain.of_size(3, split.popularity())
    other.load_state(model.state())  # its length and decay, too
    history = pack_sequences([[2, 1]], other.n)
    np.testing.assert_array_equal(other.all_scores(np.arange(1), history), [scores])
    longer = pack_sequences([[3, 3, 2, 1]], 4)  # only the last two count
    np.testing.assert_array_equal(model.all_scores(np.arange(1), longer), [scores])
    before = {name: array for name, array in model.state().items() if name != "weights"}
    other = MarkovChain.of_size(3, split.popularity())
    other.load_state(before)  # as runs of earlier versions have it
    assert other.weights.tolist() == [1, 0.5, 0.25]


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"counts": np.zeros(2)}, r"counts has shape \(2,\), the model needs \(7,\)"),
        ({"counts": np.zeros((7, 1))}, "counts has shape"),
        ({"counts": list("abcdefg")}, "counts is no array of numbers"),
        ({"counts": np.full(7, np.inf)}, "counts holds NaN or infinity"),
        ({}, "made of counts; got nothing"),
    ],
)
def test_the_state_of_another_model(state, says):
    model = Popularity.of_size(2, np.arange(7))
    with pytest.raises(CheckpointError, match=says):
        model.load_state(state)
    assert model.counts.tolist() == [*range(7)]


@pytest.mark.parametrize(
    "settings", [{"negatives": 0}, {"max_users": -1}, {"batch_size": 0}, {"lists": -1}]
)
def test_counts_that_would_say_nothing(split, settings):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} is -?[01]; it must be at least"):
        Evaluator(split, **settings)


def test_metrics_need_a_k(split):
    with pytest.raises(ConfigError, match="k is 0"):
        evaluate(Popularity.for_split(split), split, protocol="full").metrics(0)


def test_scores_may_be_whole_numbers(split):
    class Counts(Model):
        num_items, n = split.dataset.num_items, 5

        def all_scores(self, users, histories):
            return np.tile(np.arange(self.num_items + 1), (len(users), 1))

    assert top_items(Counts(), [1], 2) == [Counts.num_items, Counts.num_items - 1]
    with pytest.raises(DataError, match="candidate 0 is no item of the model"):
        top_items(Counts(), [1], 2, candidates=[0, 2])
    with pytest.raises(DataError, match="is no item of the model, 1 to"):
        top_items(Counts(), [1], 2, candidates=[2, Counts.num_items + 1])

    class Unsigned(Counts):
        def all_scores(self, users, histories):
            return super().all_scores(users, histories).astype(np.uint8)

    for protocol in PROTOCOLS:
        by = [evaluate(each(), split, protocol=protocol).ranks for each in (Counts, Unsigned)]
        np.testing.assert_array_equal(*by)
    assert np.isfinite(evaluate(Counts(), split, protocol="full").metrics()["MRR"])
