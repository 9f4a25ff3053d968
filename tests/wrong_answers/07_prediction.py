"""Wrong answers to the exercises of notebook 07."""


# top_k: columns from 0
# says: row 0 is one too small throughout: columns from 0, items from 1
def my_top_k(F, N, seen, k):
    scores = (F @ N.T)[:, 1:]
    for row, items in zip(scores, seen, strict=True):
        row[items - 1] = -np.inf
    return np.argsort(-scores, axis=1)[:, :k]


# top_k: padding
# says: recommends item 0, the padding
def my_top_k(F, N, seen, k):
    scores = F @ N.T
    for row, items in zip(scores, seen, strict=True):
        row[items] = -np.inf
    return np.argsort(-scores, axis=1)[:, :k]


# top_k: what was seen
# says: which was seen
def my_top_k(F, N, seen, k):
    scores = F @ N.T
    scores[:, 0] = -np.inf
    return np.argsort(-scores, axis=1)[:, :k]


# top_k: the worst first
# says: the lowest scores; the highest are wanted
def my_top_k(F, N, seen, k):
    scores = F @ N.T
    scores[:, 0] = np.inf
    for row, items in zip(scores, seen, strict=True):
        row[items] = np.inf
    return np.argsort(scores, axis=1)[:, :k]


# top_k: the best last
# says: has the right items in another order; best first
def my_top_k(F, N, seen, k):
    scores = F @ N.T
    scores[:, 0] = -np.inf
    for row, items in zip(scores, seen, strict=True):
        row[items] = -np.inf
    return np.argsort(scores, axis=1)[:, -k:]


# top_k: the scores
# says: item ids are integers, yours are float64
def my_top_k(F, N, seen, k):
    return -np.sort(-(F @ N.T), axis=1)[:, :k]


# top_k: all items
# says: the result has shape (1, 6), expected (B, k) = (1, 2)
def my_top_k(F, N, seen, k):
    return np.argsort(-(F @ N.T), axis=1)


# seasons: no turn
# says: the season itself scores highest: W2 has to turn the vector
my_W1, my_b1, my_W2, my_b2 = np.eye(2), np.ones(2), np.eye(2), -np.ones(2)

# seasons: the other way round
# says: summer should score highest
my_W1, my_b1 = np.eye(2), np.ones(2)
my_W2 = np.array([[0, -1], [1, 0]])
my_b2 = -my_b1 @ my_W2

# seasons: nothing lifts the vectors over the ReLU
# says: after autumn, winter should score highest
my_W1, my_b1, my_W2, my_b2 = np.eye(2), np.zeros(2), np.array([[0, 1], [-1, 0]]), np.zeros(2)

# seasons: zeros
# says: all are equal: the ReLU has cut everything away
my_W1, my_b1, my_W2, my_b2 = np.zeros((2, 2)), np.zeros(2), np.zeros((2, 2)), np.zeros(2)

# seasons: lifted and not put back
# says: should score highest
my_W1, my_b1, my_W2, my_b2 = np.eye(2), np.ones(2), np.array([[0, 1], [-1, 0]]), np.zeros(2)

# seasons: a matrix for a vector
# says: b1 has shape (2, 2), expected (2,)
my_W1, my_b1, my_W2, my_b2 = np.eye(2), np.eye(2), np.eye(2), np.zeros(2)


# top_k: -9 for minus infinity
# says: where all scores are below -1,000: -inf is lower
def my_top_k(F, N, seen, k):
    scores = F @ N.T
    scores[:, 0] = -9
    for row, items in zip(scores, seen, strict=True):
        row[items] = -9
    return np.argsort(-scores, axis=1)[:, :k]


# top_k: the smallest score for minus infinity
# says: where all scores are below -1,000: -inf is lower
def my_top_k(F, N, seen, k):
    scores = F @ N.T
    scores[:, 0] = scores.min()
    for row, items in zip(scores, seen, strict=True):
        row[items] = scores.min()
    return np.argsort(-scores, axis=1)[:, :k]
