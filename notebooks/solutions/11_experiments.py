"""Answers to the exercises of notebook 11; each part replaces its answer cell."""
# ruff: noqa: D103, F821


# exercise: expected_ndcg
def my_expected_ndcg(better, equal, k=10):
    ranks = range(better + 1, better + equal + 2)
    return sum(1 / log2(rank + 1) for rank in ranks if rank <= k) / len(ranks)


# exercise: sampled_hit
def my_sampled_hit(rank, others, negatives=100, k=10):
    better = rank - 1
    ways = sum(comb(better, j) * comb(others - better, negatives - j) for j in range(k))
    return ways / comb(others, negatives)
