"""Wrong answers to the exercises of notebook 04."""


# pad_left: floats
# says: holds float64, expected whole numbers
def my_pad_left(history, n):
    s = np.zeros(n)
    kept = history[-n:]
    s[n - len(kept) :] = kept
    return s


# pad_left: padding on the right
# says: the padding belongs on the left
def my_pad_left(history, n):
    kept = history[-n:]
    return np.array(kept + [0] * (n - len(kept)), dtype=int)


# pad_left: the first items
# says: these are the first 5, keep the last
def my_pad_left(history, n):
    kept = history[:n]
    return np.array([0] * (n - len(kept)) + kept, dtype=int)


# pad_left: a long history stays long
# says: for the history [1, 5, 2, 6, 4, 3, 1] and n = 5 has shape (7,), expected (5,)
def my_pad_left(history, n):
    return np.array([0] * (n - len(history)) + history, dtype=int)


# pad_left: the newest first
# says: the order is turned round; oldest first
def my_pad_left(history, n):
    kept = history[::-1][-n:]
    return np.array([0] * (n - len(kept)) + kept, dtype=int)


# pad_left: changes the history
# says: your function changes history
def my_pad_left(history, n):
    while len(history) < n:
        history.insert(0, 0)
    return np.array(history[-n:], dtype=int)


# pad_left: [-0:] of an empty history
# says: your code raised ValueError
def my_pad_left(history, n):
    s = np.zeros(n, dtype=int)
    s[-len(history) :] = history[-n:]
    return s


# embedding_backward: assigns
# says: dM has one gradient of each id that occurs several times, expected their sum
def my_embedding_backward(dy, items, slots, num_items, n):
    dM, dP = np.zeros((num_items + 1, dy.shape[-1])), np.zeros((n, dy.shape[-1]))
    dM[items] += dy
    dP[slots] += dy
    dM[0] = 0
    return dM, dP


# embedding_backward: a gradient for padding
# says: row 0 of dM holds the gradient of the padded slots, expected 0
def my_embedding_backward(dy, items, slots, num_items, n):
    dM, dP = np.zeros((num_items + 1, dy.shape[-1])), np.zeros((n, dy.shape[-1]))
    np.add.at(dM, items, dy)
    np.add.at(dP, slots, dy)
    return dM, dP


# embedding_backward: no slots for padding
# says: dP lacks the gradient of the padded slots
def my_embedding_backward(dy, items, slots, num_items, n):
    dM, dP = np.zeros((num_items + 1, dy.shape[-1])), np.zeros((n, dy.shape[-1]))
    np.add.at(dM, items, dy)
    np.add.at(dP, slots, dy * (items != 0)[..., None])
    dM[0] = 0
    return dM, dP


# embedding_backward: swapped
# says: dM and dP are swapped
def my_embedding_backward(dy, items, slots, num_items, n):
    dM, dP = np.zeros((num_items + 1, dy.shape[-1])), np.zeros((n, dy.shape[-1]))
    np.add.at(dM, items, dy)
    np.add.at(dP, slots, dy)
    dM[0] = 0
    return dP, dM


# embedding_backward: no row for padding
# says: dM has 6 rows, expected 7: one for each item, and row 0 for padding
def my_embedding_backward(dy, items, slots, num_items, n):
    dM, dP = np.zeros((num_items, dy.shape[-1])), np.zeros((n, dy.shape[-1]))
    np.add.at(dM, items - 1, dy)
    np.add.at(dP, slots, dy)
    return dM, dP


# embedding_backward: one of the two
# says: return two gradients, dM and dP; got a ndarray
def my_embedding_backward(dy, items, slots, num_items, n):
    dM = np.zeros((num_items + 1, dy.shape[-1]))
    np.add.at(dM, items, dy)
    return dM


# embedding_backward: None for one of the two
# says: my_embedding_backward returns None as one of its 2 results
def my_embedding_backward(dy, items, slots, num_items, n):
    return np.zeros((num_items + 1, dy.shape[-1])), None


# embedding_backward: one size for all
# says: dM of the packed layout has shape (7, 3), expected (10, 2)
def my_embedding_backward(dy, items, slots, num_items, n):
    dM, dP = np.zeros((7, 3)), np.zeros((5, 3))
    np.add.at(dM, items % 7, dy[..., :1] if dy.shape[-1] < 3 else dy)
    np.add.at(dP, slots % 5, dy[..., :1] if dy.shape[-1] < 3 else dy)
    dM[0] = 0
    return dM, dP
