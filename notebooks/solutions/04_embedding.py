"""Answers to the exercises of notebook 04; each part replaces its answer cell."""
# ruff: noqa: D103, F821


# exercise: pad_left
def my_pad_left(history, n):
    kept = list(history)[-n:]
    slots = np.zeros(n, dtype=int)
    slots[n - len(kept) :] = kept
    return slots


# exercise: embedding_backward
def my_embedding_backward(dy, items, slots, num_items, n):
    dM = np.zeros((num_items + 1, dy.shape[-1]))
    np.add.at(dM, items, dy)
    dM[0] = 0
    dP = np.zeros((n, dy.shape[-1]))
    np.add.at(dP, slots, dy)
    return dM, dP
