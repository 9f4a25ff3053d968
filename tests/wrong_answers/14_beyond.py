"""Wrong answers to the exercises of notebook 14."""


# gbce_beta: the whole catalogue
# says: the negatives are drawn from the other 4 items
def my_beta(negatives, num_items, t):
    return 1 + t * (negatives / num_items - 1)


# gbce_beta: one negative
# says: 64 negatives are drawn
def my_beta(negatives, num_items, t):
    return 1 + t * (1 / (num_items - 1) - 1)


# gbce_beta: the wrong way
# says: t runs the wrong way
def my_beta(negatives, num_items, t):
    alpha = negatives / (num_items - 1)
    return alpha + t * (1 - alpha)


# gbce_beta: a power
# says: between the ends beta goes in a straight line, not as a power
def my_beta(negatives, num_items, t):
    return (negatives / (num_items - 1)) ** t


# gbce_beta: no correction at all
# says: at t=1 ... what p = 0.01 settles at
def my_beta(negatives, num_items, t):
    return 1.0


# gbce_beta: t times alpha
# says: at t=0 ... expected 1: no correction
def my_beta(negatives, num_items, t):
    return t * negatives / (num_items - 1)


# ce_backward: the softmax alone
# says: the 1 at the target is missing: softmax minus 1 there
def my_ce_backward(h, items, targets):
    rows = np.flatnonzero(targets)
    q = np.exp(h[rows] @ items[1:].T)
    q /= q.sum(axis=1, keepdims=True) * len(rows)
    dh, ditems = np.zeros_like(h), np.zeros_like(items)
    dh[rows], ditems[1:] = q @ items[1:], q.T @ h[rows]
    return dh, ditems


# ce_backward: the sum
# says: the loss is a mean over the targets; here is the sum
def my_ce_backward(h, items, targets):
    rows = np.flatnonzero(targets)
    q = np.exp(h[rows] @ items[1:].T)
    q /= q.sum(axis=1, keepdims=True)
    q[np.arange(len(rows)), targets[rows] - 1] -= 1
    dh, ditems = np.zeros_like(h), np.zeros_like(items)
    dh[rows], ditems[1:] = q @ items[1:], q.T @ h[rows]
    return dh, ditems


# ce_backward: divided by all positions
# says: divide by the number of targets, not of positions
def my_ce_backward(h, items, targets):
    rows = np.flatnonzero(targets)
    q = np.exp(h[rows] @ items[1:].T)
    q /= q.sum(axis=1, keepdims=True)
    q[np.arange(len(rows)), targets[rows] - 1] -= 1
    q /= len(targets)
    dh, ditems = np.zeros_like(h), np.zeros_like(items)
    dh[rows], ditems[1:] = q @ items[1:], q.T @ h[rows]
    return dh, ditems


# ce_backward: the sign
# says: dh is wrong: its sign
def my_ce_backward(h, items, targets):
    rows = np.flatnonzero(targets)
    q = np.exp(h[rows] @ items[1:].T)
    q /= -q.sum(axis=1, keepdims=True) * len(rows)
    q[np.arange(len(rows)), targets[rows] - 1] += 1 / len(rows)
    dh, ditems = np.zeros_like(h), np.zeros_like(items)
    dh[rows], ditems[1:] = q @ items[1:], q.T @ h[rows]
    return dh, ditems


# ce_backward: a gradient for padding
# says: ditems[0] is not 0, but the padding item takes no part
def my_ce_backward(h, items, targets):
    q = np.exp(h @ items.T)
    q /= q.sum(axis=1, keepdims=True)
    q[np.arange(len(h)), targets] -= 1
    q *= (targets != 0)[:, None] / np.count_nonzero(targets)
    return q @ items, q.T @ h


# ce_backward: positions without a target
# says: a position without a target has a gradient
def my_ce_backward(h, items, targets):
    q = np.exp(h @ items[1:].T)
    q /= q.sum(axis=1, keepdims=True)
    rows = np.flatnonzero(targets)
    q[rows, targets[rows] - 1] -= 1
    q /= len(rows)
    return q @ items[1:], np.vstack([np.zeros(h.shape[1]), q.T @ h])


# ce_backward: no row for padding
# says: expected those of h (1, 3) and items (5, 3)
def my_ce_backward(h, items, targets):
    return np.zeros_like(h), np.zeros_like(items[1:])


# ce_backward: overflows
# says: with scores of about 1,000 you return NaN ... take the largest number of the row away
def my_ce_backward(h, items, targets):
    rows = np.flatnonzero(targets)
    q = np.exp(h[rows] @ items[1:].T)
    q /= q.sum(axis=1, keepdims=True)
    q[np.arange(len(rows)), targets[rows] - 1] -= 1
    q /= len(rows)
    dh, ditems = np.zeros_like(h), np.zeros_like(items)
    dh[rows], ditems[1:] = q @ items[1:], q.T @ h[rows]
    return dh, ditems
