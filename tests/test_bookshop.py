"""The invented bookshop: the same everywhere, and its oracle right to the last digit."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math

import numpy as np
import pytest

from minisasrec.data import bookshop
from minisasrec.data.bookshop import COMPONENTS, Oracle, Recipe, load_bookshop
from minisasrec.errors import ConfigError, DataError

TINY = Recipe(
    genres=3, seasons=2, series_share=20, volumes=(3, 4), seasonal_share=100, shortest=2, longest=4,
    lag_weights=(2, 3, 1), mood_stays=60, mood_drifts=30, season_stays=70, head=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def shop():
    return load_bookshop()


@pytest.fixture(scope="module")
def tiny():
    return load_bookshop(seed=3, readers=200, books=24, recipe=TINY)


def by_the_book(oracle: Oracle, history: list[int]) -> np.ndarray:
    """p(next | history) by the module's docstring: a sum over every path of hidden moods."""
    shop, r = oracle.shop, oracle.shop.recipe
    books = range(1, len(shop.titles))
    genre = {i: int(shop.shelves[i, 1]) - 1 for i in books}
    season = {i: int(shop.shelves[i, 2]) - 1 - r.genres for i in books}

    def on_shelf(i, h, member):
        shelf = [j for j in books if member(j) and j not in h]
        return shop.appeal[i] / sum(shop.appeal[j] for j in shelf) if i in shelf else 0.0

    def p(i, h, z, s):
        pulls = {}
        for lag, weight in enumerate(r.lag_weights, 1):
            following = shop.sequel[h[-lag]] if lag <= len(h) else 0
            if following and following not in h:
                pulls[following] = weight
        author = shop.author(h[-1]) if h else None
        same_author = any(shop.author(j) == author and j not in h for j in books)
        mood = r.mood + (0 if pulls else r.series) + (0 if same_author else r.author)
        total = mood * on_shelf(i, h, lambda j: genre[j] == z)
        total += r.season * on_shelf(i, h, lambda j: season[j] == s)
        total += r.popular * on_shelf(i, h, lambda j: True)
        total += r.noise * (i not in h) / (len(books) - len(h))
        if pulls:
            total += r.series * pulls.get(i, 0) / sum(pulls.values())
        if same_author:
            total += r.author * on_shelf(i, h, lambda j: shop.author(j) == author)
        return total / 100

    def step(a, b, size, stays, drifts):
        return (stays * (a == b) + drifts * (b == (a + 1) % size)) / 100 + (
            100 - stays - drifts
        ) / 100 / size

    @functools.cache
    def column(t, z, s):
        return np.array([0.0, *(p(i, history[:t], z, s) for i in books)])

    states = list(itertools.product(range(r.genres), range(r.seasons)))
    joint = np.zeros(len(books) + 1)
    for path in itertools.product(states, repeat=len(history) + 1):
        weight = 1 / len(states)
        for (z, s), (y, x) in itertools.pairwise(path):
            weight *= step(z, y, r.genres, r.mood_stays, r.mood_drifts)
            weight *= step(s, x, r.seasons, r.season_stays, 100 - r.season_stays)
        for t, i in enumerate(history):
            weight *= column(t, *path[t])[i]
        joint += weight * column(len(history), *path[-1])
    return joint / joint.sum()


def test_the_same_arrays_on_every_platform(shop):
    digest = hashlib.sha256(shop.items.astype("<i4").tobytes())
    digest.update(shop.offsets.astype("<i8").tobytes())
    assert digest.hexdigest() == FINGERPRINT
    assert hashlib.sha256("\n".join(shop.titles).encode()).hexdigest() == TITLES


def test_catalogue_and_histories(shop):
    assert len(set(shop.titles)) == len(shop.titles) == 1501
    assert all(labels for labels in shop.categories[1:])
    catalogue = shop.oracle.shop
    assert len(np.unique(catalogue.appeal[1:])) == 1500  # so no two books tie
    for i in np.flatnonzero(catalogue.sequel):
        name, volume = shop.titles[i].split(", book ")
        assert shop.titles[catalogue.sequel[i]] == f"{name}, book {int(volume) + 1}"
        assert catalogue.author(i) == catalogue.author(catalogue.sequel[i])
    lengths = np.diff(shop.offsets)
    assert (lengths.min(), lengths.max()) == (5, 60)
    assert 18 <= lengths.mean() <= 25
    for u in range(shop.num_users):
        assert len(set(shop.sequence(u).tolist())) == lengths[u]


def test_another_seed_is_another_shop():
    a, b = (load_bookshop(seed=s, readers=50) for s in (1, 2))
    assert a.titles != b.titles and a.fingerprint() != b.fingerprint()


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_oracle_equals_enumeration_of_all_moods(tiny, length):
    histories = [tiny.sequence(u)[:length].tolist() for u in range(200)]
    histories = [h for h in histories if len(h) == length][:3]
    expected = [by_the_book(tiny.oracle, h) for h in histories]
    np.testing.assert_allclose(tiny.oracle.scores(histories), expected, rtol=1e-12, atol=1e-15)


def test_oracle_enumeration_covers_every_rule(tiny):
    catalogue = tiny.oracle.shop
    first = int(np.flatnonzero(catalogue.sequel)[0])
    author = [i for i in range(1, 25) if catalogue.author(i) == catalogue.author(24)]
    for history in ([first, 24, 23], [first, first + 1, 1 + (first == 1) * 20], author[-3:]):
        np.testing.assert_allclose(
            tiny.oracle.scores([history])[0], by_the_book(tiny.oracle, history), rtol=1e-12
        )


def test_probabilities_sum_to_one_and_exclude_books_read(shop):
    histories = [shop.sequence(u)[:-1] for u in range(300)]
    p = shop.oracle.scores(histories)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert (p[:, 0] == 0).all() and all((p[r, h] == 0).all() for r, h in enumerate(histories))
    np.testing.assert_array_equal(p[:7], shop.oracle.scores(histories[:7], batch=2))


def test_first_books_follow_the_model(tiny):
    """Chi-square of 20,000 first books against p(. | nothing read): 23 degrees of freedom."""
    many = load_bookshop(seed=3, readers=20_000, books=24, recipe=TINY)
    assert many.titles == tiny.titles
    expected = 20_000 * many.oracle.scores([[]])[0, 1:]
    seen = np.bincount(many.items[many.offsets[:-1]], minlength=25)[1:]
    assert ((seen - expected) ** 2 / expected).sum() < 23 + 4 * math.sqrt(2 * 23)


def test_later_books_follow_the_model(shop):
    """What a target is expected to show, summed over readers, is what the targets do show."""
    rng = np.random.default_rng(0)
    users = rng.permutation(shop.num_users)[:1000]
    cuts = [int(rng.integers(shop.offsets[u], shop.offsets[u + 1])) for u in users]
    histories = [shop.items[shop.offsets[u] : cut] for u, cut in zip(users, cuts, strict=True)]
    parts = shop.oracle._parts(histories)[0]
    p = parts.sum(axis=0)
    rows, targets = np.arange(len(p)), shop.items[cuts]
    with np.errstate(invalid="ignore", divide="ignore"):
        traits = {n: np.nan_to_num(part / p) for n, part in zip(COMPONENTS, parts, strict=True)}
        traits["log p"] = np.where(p > 0, np.log(p), 0)
    traits["rank"] = np.argsort(np.argsort(-p, axis=1), axis=1).astype(float)
    for name, trait in traits.items():
        mean = (p * trait).sum(axis=1)
        variance = (p * trait**2).sum(axis=1) - mean**2
        z = (trait[rows, targets] - mean).sum() / math.sqrt(variance.sum())
        assert abs(z) < 3.5, (name, z)


def test_gains_are_the_mean_over_all_draws_of_negatives():
    unread, negatives = 30, 14
    hits, ndcg = bookshop._gains(unread, negatives)
    for m in range(unread):
        chance = [
            math.comb(m, j) * math.comb(29 - m, negatives - j) / math.comb(29, negatives)
            for j in range(10)
        ]
        assert hits[m] == pytest.approx(sum(chance), rel=1e-10)
        assert ndcg[m] == pytest.approx(
            sum(c / math.log2(j + 2) for j, c in enumerate(chance)), rel=1e-10
        )


def test_best_reachable_is_the_score_of_ranking_by_p(shop):
    small = load_bookshop(readers=200)
    for split, held_out in (("test", 1), ("valid", 2)):
        ends = small.offsets[1:] - held_out
        histories = [small.items[a:b] for a, b in zip(small.offsets[:-1], ends, strict=True)]
        p = small.oracle.scores(histories)
        better = (p > p[np.arange(200), small.items[ends]][:, None]).sum(axis=1)
        hit = better < 10
        best = small.oracle.best_reachable(split, "full")
        assert best["HR@10"] == pytest.approx(hit.mean(), rel=1e-12)
        assert best["NDCG@10"] == pytest.approx((hit / np.log2(better + 2)).mean(), rel=1e-12)
        top = -np.sort(-p, axis=1)[:, :10]
        assert best["expected HR@10"] == pytest.approx(top.sum(axis=1).mean(), rel=1e-12)


def test_oracle_beats_popularity_on_the_same_negatives():
    small = load_bookshop(readers=300)
    rng, ends = np.random.default_rng(1), small.offsets[1:] - 1
    count = np.bincount(small.items, minlength=1501)
    histories = [small.items[a:b] for a, b in zip(small.offsets[:-1], ends, strict=True)]
    hits = np.zeros(2)
    for history, target, p in zip(
        histories, small.items[ends], small.oracle.scores(histories), strict=True
    ):
        pool = np.setdiff1d(np.arange(1, 1501), np.append(history, target))
        negatives = rng.choice(pool, 100, replace=False)
        hits += [(score[negatives] > score[target]).sum() < 10 for score in (p, count)]
    oracle, popularity = hits / 300
    assert oracle > popularity + 0.3
    best = small.oracle.best_reachable("test", "sampled")["HR@10"]
    assert oracle == pytest.approx(best, abs=0.03)


def test_explanation_adds_up(shop):
    history = shop.sequence(17)[:-1]
    why = shop.oracle.explain_next(history, k=5)
    p = shop.oracle.scores([history])[0]
    assert [b["book"] for b in why["books"]] == np.argsort(-p, kind="stable")[:5].tolist()
    for book in why["books"]:
        assert book["p"] == pytest.approx(sum(book[c] for c in COMPONENTS), rel=1e-12)
        assert book["title"] == shop.titles[book["book"]]
    for hidden, size in (("mood", 12), ("season", 4)):
        assert len(why[hidden]) == size and sum(why[hidden].values()) == pytest.approx(1)


def test_describe_names_every_parameter(shop):
    for name in Recipe.__dataclass_fields__:
        assert f"{name} " in shop.oracle.describe()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_bookshop(readers=0), "readers=0"),
        (lambda: load_bookshop(books=500), "smallest genre or season"),
        (lambda: load_bookshop(books=5000), "got 5000"),
        (lambda: Recipe(series=50), "must be 100 percent"),
    ],
)
def test_settings_that_cannot_be(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_histories_that_cannot_be(tiny):
    for history, message in (([3, 25], r"1\.\.24"), ([0], r"1\.\.24"), ([3, 4, 3], "twice")):
        with pytest.raises(DataError, match=message):
            tiny.oracle.scores([history])
    with pytest.raises(ConfigError, match="split"):
        tiny.oracle.best_reachable("train")


FINGERPRINT = "a423eb09c96ce57f74a0fed77e5d1b9d9dd8971add15fe9c727bbbb984836145"
TITLES = "77c681d603c0b82d671d8aabc5b887b833c69c66b63ee5cc660e3243a550bb7d"
