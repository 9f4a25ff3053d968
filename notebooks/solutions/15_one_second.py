"""Answers to the exercises of notebook 15; each part replaces its answer cell."""
# ruff: noqa: D103, F821


# exercise: last_items
def my_last_items(users, items, times):
    found = {}
    for u, item, time in zip(users, items, times, strict=True):
        if u not in found or time >= found[u][0]:
            found[u] = time, item
    return np.array([found[u][1] for u in sorted(found)])


# exercise: changed_share
def my_changed_share(users, times):
    shares = []
    for u in np.unique(users):
        mine = times[users == u]
        m = (mine == mine.max()).sum()
        shares.append(1 - 1 / m)
    return np.mean(shares)


# exercise: spreads
def my_spreads(scores):
    return np.ptp(scores.mean(axis=1)), np.ptp(scores, axis=1).mean()
