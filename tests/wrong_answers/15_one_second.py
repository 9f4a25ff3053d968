"""Wrong answers to the exercises of notebook 15."""


# last_items: the first among equals
# says: at equal times you take the row that comes first in the file
def my_last_items(users, items, times):
    found = {}
    for u, item, time in zip(users, items, times):
        if u not in found or time > found[u][0]:
            found[u] = time, item
    return [found[u][1] for u in sorted(found)]


# last_items: sorted by all columns
# says: at equal times you take the largest item number; the order of the file decides
def my_last_items(users, items, times):
    rows = sorted(zip(users, times, items))
    return list({u: item for u, _, item in rows}.values())


# last_items: the smallest number
# says: at equal times you take the smallest item number; the order of the file decides
def my_last_items(users, items, times):
    rows = sorted(zip(users, times, -items))
    return list({u: -item for u, _, item in rows}.values())


# last_items: the last rows
# says: these are the last rows of the file; times come before that
def my_last_items(users, items, times):
    found = dict(zip(users, items))
    return [found[u] for u in sorted(found)]


# last_items: the first items
# says: these are the first items
def my_last_items(users, items, times):
    order = np.argsort(times, kind="stable")[::-1]
    found = dict(zip(users[order], items[order]))
    return [found[u] for u in sorted(found)]


# last_items: one for each row
# says: have one entry for each row, expected one for each user
def my_last_items(users, items, times):
    order = np.argsort(times, kind="stable")
    found = dict(zip(users[order], items[order]))
    return np.array([found[u] for u in users])


# changed_share: the share that stays
# says: that is the probability that nothing changes
def my_changed_share(users, times):
    return np.mean(
        [1 / np.sum(times[users == u] == times[users == u].max()) for u in np.unique(users)]
    )


# changed_share: a tie changes it for sure
# says: a tie does not change the item for sure: with probability 1 - 1/m
def my_changed_share(users, times):
    last = [np.sum(times[users == u] == times[users == u].max()) for u in np.unique(users)]
    return np.mean(np.array(last) > 1)


# changed_share: all tied actions
# says: that is the share of actions with a tie; only the last second of a user matters
def my_changed_share(users, times):
    tied = [np.sum((users == u) & (times == t)) > 1 for u, t in zip(users, times)]
    return np.mean(tied)


# changed_share: the mean over actions
# says: each user counts once, whatever the number of actions
def my_changed_share(users, times):
    last = {u: np.sum(times[users == u] == times[users == u].max()) for u in users}
    return np.mean([1 - 1 / last[u] for u in users])


# changed_share: the sum
# says: the sum over users; their mean is a share
def my_changed_share(users, times):
    last = [np.sum(times[users == u] == times[users == u].max()) for u in np.unique(users)]
    return sum(1 - 1 / m for m in last)


# changed_share: stays for moves
# says: 1/m is the probability that the item stays the same
def my_changed_share(users, times):
    last = [np.sum(times[users == u] == times[users == u].max()) for u in np.unique(users)]
    return np.mean([1 / m if m > 1 else 0 for m in last])


# changed_share: no mean
# says: expected one: their mean
def my_changed_share(users, times):
    last = [np.sum(times[users == u] == times[users == u].max()) for u in np.unique(users)]
    return 1 - 1 / np.array(last)


# spreads: exchanged
# says: the two are exchanged: the order first, then the seed
def my_spreads(scores):
    return np.ptp(scores, axis=1).mean(), np.ptp(scores.mean(axis=1))


# spreads: the wrong axis
# says: of_order ... the mean over the orders; average over the seeds, axis 1
def my_spreads(scores):
    return np.ptp(scores.mean(axis=0)), np.ptp(scores, axis=1).mean()


# spreads: of all scores
# says: of_order ... largest minus smallest of all; average over the seeds first
def my_spreads(scores):
    return np.ptp(scores), np.ptp(scores, axis=1).mean()


# spreads: standard deviations
# says: of_order ... a standard deviation; largest minus smallest was asked for
def my_spreads(scores):
    return scores.mean(axis=1).std(), scores.std(axis=1).mean()


# spreads: the largest range
# says: of_seed ... the largest range; the mean of the rows was asked for
def my_spreads(scores):
    return np.ptp(scores.mean(axis=1)), np.ptp(scores, axis=1).max()


# spreads: the range of means
# says: of_seed ... the range of the means of the seeds; take the range in each row
def my_spreads(scores):
    return np.ptp(scores.mean(axis=1)), np.ptp(scores.mean(axis=0))


# spreads: one number
# says: return (of_order, of_seed); got a float
def my_spreads(scores):
    return float(np.ptp(scores.mean(axis=1)))


# last_items: an unstable sort
# says: 8 users with 50 actions each ... unless it is stable (kind="stable")
def my_last_items(users, items, times):
    order = np.argsort(times)
    found = dict(zip(users[order], items[order]))
    return [found[u] for u in sorted(found)]


# last_items: an unstable sort for each user
# says: unless it is stable (kind="stable")
def my_last_items(users, items, times):
    return [items[users == u][np.argsort(times[users == u])[-1]] for u in np.unique(users)]


# spreads: both along the wrong axis
# says: of_order ... the mean over the orders; average over the seeds, axis 1
def my_spreads(scores):
    return np.ptp(scores.mean(axis=0)), np.ptp(scores, axis=0).mean()
