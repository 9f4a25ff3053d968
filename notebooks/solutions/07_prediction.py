"""Answers to the exercises of notebook 07; each part replaces its answer cell."""
# ruff: noqa: D103, F821


# exercise: top_k
def my_top_k(F, N, seen, k):
    scores = F @ N.T
    scores[:, 0] = -np.inf
    for row, items in zip(scores, seen, strict=True):
        row[items] = -np.inf
    return np.argsort(-scores, axis=1)[:, :k]


# exercise: seasons
my_W1, my_b1 = np.eye(2), np.ones(2)
my_W2 = np.array([[0, 1], [-1, 0]])
my_b2 = -my_b1 @ my_W2
