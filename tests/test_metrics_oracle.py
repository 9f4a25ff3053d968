"""HR, NDCG and MRR against trec_eval, the reference of information retrieval, by ir-measures."""

from __future__ import annotations

import numpy as np
import pytest

from minisasrec.learn import metrics
from minisasrec.learn.recommendation import rankable, top_lists

ir_measures = pytest.importorskip("ir_measures", reason="pip install ir-measures")
USERS, ITEMS = 40, 60


def trec_eval(runs: list[dict[int, float]], targets: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """HR@k, NDCG@k and MRR of each user, by trec_eval; `runs` hold the scores of ranked items."""
    from ir_measures import RR, Qrel, ScoredDoc, Success, nDCG

    measures = {"HR": Success @ k, "NDCG": nDCG @ k, "MRR": RR}
    qrels = [Qrel(str(u), str(target), 1) for u, target in enumerate(targets)]
    run = [ScoredDoc(str(u), str(i), s) for u, own in enumerate(runs) for i, s in own.items()]
    found = {name: np.zeros(len(runs)) for name in measures}  # a user without a list has 0
    for value in ir_measures.iter_calc(list(measures.values()), qrels, run):
        name = next(name for name, m in measures.items() if m == value.measure)
        found[name][int(value.query_id)] = value.value
    return found


def ours(ranks: np.ndarray, k: int) -> dict[str, np.ndarray]:
    ranking = metrics.Ranking(ranks)
    return {m.name: m(k).by_user(ranking) for m in (metrics.HitRate, metrics.NDCG, metrics.MRR)}


def ranks_of(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """By `rank_of_first`, as the evaluator does it: the target in the column of the padding."""
    user, moved = np.arange(len(scores)), scores.copy()
    moved[:, 0] = scores[user, targets]
    moved[user, targets] = -np.inf
    ranks = metrics.rank_of_first(moved)
    return np.where(np.isinf(scores[user, targets]), np.inf, ranks)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores (U, I + 1), -inf for what cannot be recommended, a fifth of it, and targets (U)."""
    dice = np.random.default_rng(seed)
    scores = dice.permuted(np.tile(np.arange(ITEMS + 1.0), (USERS, 1)), axis=1)  # all different
    scores[dice.random(scores.shape) < 0.2] = -np.inf
    scores[:, 0] = -np.inf
    return scores, dice.integers(1, ITEMS + 1, USERS)


def listed(scores: np.ndarray) -> list[dict[int, float]]:
    return [{int(i): float(row[i]) for i in np.flatnonzero(row > -np.inf)} for row in scores]


@pytest.mark.parametrize("k", [1, 5, 10, ITEMS, 10 * ITEMS])  # the last is beyond every list
def test_against_trec_eval(k: int) -> None:
    scores, targets = drawn(k)
    lost = np.isinf(scores[np.arange(USERS), targets])
    assert 0 < lost.sum() < USERS  # targets that cannot be recommended, and others
    expected = trec_eval(listed(scores), targets, k)
    for name, values in ours(ranks_of(scores, targets), k).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-12, err_msg=name)
        assert (values[lost] == 0).all()


@pytest.mark.parametrize("k", [1, 10, 10 * ITEMS])
def test_lists_against_trec_eval(k: int) -> None:
    """The k best items as a list of k: whoever cuts it off before the target, misses it."""
    scores, targets = drawn(7)
    met = [np.flatnonzero(np.isinf(row[1:])) + 1 for row in scores]
    lists = top_lists(scores, k)
    assert all(not set(row) & set(own) for row, own in zip(lists, met, strict=True))
    runs = [{int(i): -place for place, i in enumerate(row) if i} for row in lists]
    expected = trec_eval([{i: float(s) for i, s in run.items()} for run in runs], targets, k)
    found = ours(ranks_of(scores, targets), k)
    np.testing.assert_allclose(found["HR"], expected["HR"], atol=1e-12)
    np.testing.assert_allclose(found["NDCG"], expected["NDCG"], atol=1e-12)


def test_ties_against_trec_eval() -> None:
    """Equal scores share the mean of the best and the worst rank that trec_eval could give them.

    trec_eval breaks ties by the name of the item; so the target is put first, then last, of those
    that have its score.
    """
    dice = np.random.default_rng(3)
    scores = dice.integers(0, 5, (USERS, ITEMS + 1)).astype(float)  # a dozen items share a score
    scores[:, 0] = -np.inf
    targets = dice.integers(1, ITEMS + 1, USERS)
    user, nudge = np.arange(USERS), np.zeros_like(scores)
    nudge[user, targets] = 0.5
    best = 1 / trec_eval(listed(scores + nudge), targets, 10)["MRR"]
    worst = 1 / trec_eval(listed(scores - nudge), targets, 10)["MRR"]
    assert (worst - best > 3).all()
    np.testing.assert_allclose(ranks_of(scores, targets), (best + worst) / 2, atol=1e-9)


def test_what_is_met_is_not_ranked() -> None:
    """`rankable` and `rank_of_first` together, with whole histories, against trec_eval."""
    from minisasrec.data.sequences import pack_sequences

    dice = np.random.default_rng(5)
    scores = dice.permuted(np.tile(np.arange(ITEMS + 1.0), (USERS, 1)), axis=1)
    histories = [dice.integers(1, ITEMS + 1, dice.integers(1, 30)) for _ in range(USERS)]
    targets = dice.integers(1, ITEMS + 1, USERS)
    ranked = rankable(scores, pack_sequences(histories, 30), "forbid")
    left = [
        {i: float(row[i]) for i in range(1, ITEMS + 1) if i not in set(own.tolist())}
        for row, own in zip(scores, histories, strict=True)
    ]
    expected = trec_eval(left, targets, 10)
    for name, values in ours(ranks_of(ranked.astype(float), targets), 10).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-12, err_msg=name)
