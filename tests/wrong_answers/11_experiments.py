"""Wrong answers to the exercises of notebook 11."""


# expected_ndcg: the average rank
# says: the gain of the average rank; the average of the gains was asked for
def my_expected_ndcg(better, equal, k=10):
    rank = better + 1 + equal / 2
    return 1 / log2(rank + 1) if rank <= k else 0


# expected_ndcg: the best rank
# says: the gain of the best rank, as if the target came first among its equals
def my_expected_ndcg(better, equal, k=10):
    return 1 / log2(better + 2) if better < k else 0


# expected_ndcg: the worst rank
# says: the gain of the worst rank, as if the target came last among its equals
def my_expected_ndcg(better, equal, k=10):
    rank = better + equal + 1
    return 1 / log2(rank + 1) if rank <= k else 0


# expected_ndcg: the mean of the hits only
# says: the mean over the ranks up to k only; later ones count as 0
def my_expected_ndcg(better, equal, k=10):
    gains = [1 / log2(r + 1) for r in range(better + 1, better + equal + 2) if r <= k]
    return sum(gains) / len(gains) if gains else 0


# expected_ndcg: the sum
# says: the sum of the gains, not their mean
def my_expected_ndcg(better, equal, k=10):
    return sum(1 / log2(r + 1) for r in range(better + 1, better + equal + 2) if r <= k)


# expected_ndcg: the natural logarithm
# says: with the natural logarithm; the gain has log2
def my_expected_ndcg(better, equal, k=10):
    ranks = range(better + 1, better + equal + 2)
    return sum(1 / np.log(r + 1) for r in ranks if r <= k) / len(ranks)


# expected_ndcg: the target is left out of its equals
# says: divided by the number of equals; the target is one more
def my_expected_ndcg(better, equal, k=10):
    gains = [1 / log2(r + 1) for r in range(better + 1, better + equal + 2) if r <= k]
    return sum(gains) / max(equal, 1)


# expected_ndcg: all gains
# says: you give 1 numbers, expected one: their mean
def my_expected_ndcg(better, equal, k=10):
    return [1 / log2(r + 1) for r in range(better + 1, better + equal + 2)]


# sampled_hit: one draw too many
# says: you count draws of k better items as hits; that is rank k + 1
def my_sampled_hit(rank, others, negatives=100, k=10):
    better = rank - 1
    ways = sum(comb(better, j) * comb(others - better, negatives - j) for j in range(k + 1))
    return ways / comb(others, negatives)


# sampled_hit: rank better items
# says: there are rank - 1 better items, not rank
def my_sampled_hit(rank, others, negatives=100, k=10):
    ways = sum(comb(rank, j) * comb(others - rank, negatives - j) for j in range(k))
    return ways / comb(others, negatives)


# sampled_hit: with putting back
# says: negatives are drawn without putting back
def my_sampled_hit(rank, others, negatives=100, k=10):
    p = (rank - 1) / others
    return sum(comb(negatives, j) * p**j * (1 - p) ** (negatives - j) for j in range(k))


# sampled_hit: the number of ways
# says: the ways are counted; divide by comb(others, negatives)
def my_sampled_hit(rank, others, negatives=100, k=10):
    better = rank - 1
    return sum(comb(better, j) * comb(others - better, negatives - j) for j in range(k))


# sampled_hit: the misses
# says: that is a miss; a hit has fewer than k better ones drawn
def my_sampled_hit(rank, others, negatives=100, k=10):
    better = rank - 1
    ways = sum(comb(better, j) * comb(others - better, negatives - j) for j in range(k))
    return 1 - ways / comb(others, negatives)


# sampled_hit: the last term only
# says: exactly j = k - 1 better ones; add up j = 0 to k - 1
def my_sampled_hit(rank, others, negatives=100, k=10):
    better, j = rank - 1, k - 1
    return comb(better, j) * comb(others - better, negatives - j) / comb(others, negatives)


# sampled_hit: the rank of the full list
# says: the result for rank=3
def my_sampled_hit(rank, others, negatives=100, k=10):
    return float(rank <= k)


# sampled_hit: from 1 on
# says: add up j = 0 to k - 1, not 1 to k
def my_sampled_hit(rank, others, negatives=100, k=10):
    better = rank - 1
    ways = sum(comb(better, j) * comb(others - better, negatives - j) for j in range(1, k + 1))
    return ways / comb(others, negatives)


# sampled_hit: one term too few
# says: k=1 is 0, expected 0.357143
def my_sampled_hit(rank, others, negatives=100, k=10):
    better = rank - 1
    ways = sum(comb(better, j) * comb(others - better, negatives - j) for j in range(k - 1))
    return ways / comb(others, negatives)
