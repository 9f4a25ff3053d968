"""Wrong answers to the exercises of notebook 05."""


# causal_mask: zeros and ones
# says: the mask holds int64, expected True and False
def my_causal_mask(real):
    n = real.shape[1]
    itself = np.eye(n, dtype=int)
    return np.tril(np.ones((n, n), dtype=int)) * np.maximum(real[:, None, :], itself)


# causal_mask: one mask for all
# says: the mask has shape (4, 4), not (4, 4, 4)
def my_causal_mask(real):
    n = real.shape[1]
    return np.tril(np.ones((n, n), dtype=bool))


# causal_mask: padding may be looked at
# says: must not look at slot 0 (slot 0 is padding)
def my_causal_mask(real):
    B, n = real.shape
    return np.tril(np.ones((B, n, n), dtype=bool))


# causal_mask: a padded slot sees nothing
# says: a slot sees itself, else a padded one has a softmax over nothing
def my_causal_mask(real):
    n = real.shape[1]
    return np.tril(np.ones((n, n), dtype=bool)) & real[:, None, :]


# causal_mask: the future
# says: (that is the future)
def my_causal_mask(real):
    n = real.shape[1]
    return np.triu(np.ones((n, n), dtype=bool)) & (real[:, None, :] | np.eye(n, dtype=bool))


# causal_mask: rows instead of columns
# says: must not look at slot
def my_causal_mask(real):
    n = real.shape[1]
    return np.tril(np.ones((n, n), dtype=bool)) & (real[:, :, None] | np.eye(n, dtype=bool))


# causal_mask: what is forbidden
# says: your mask says
def my_causal_mask(real):
    n = real.shape[1]
    return ~(np.tril(np.ones((n, n), dtype=bool)) & (real[:, None, :] | np.eye(n, dtype=bool)))


# causal_mask: the past without itself
# says: a slot sees itself
def my_causal_mask(real):
    n = real.shape[1]
    return np.tril(np.ones((n, n), dtype=bool), -1) & real[:, None, :]


# attention_backward: no scale
# says: the factor 1 / sqrt(d) is missing
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p.T @ dout
    dz = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    return dz @ k, dz.T @ q, dv


# attention_backward: divided by d
# says: z is divided by sqrt(d), not by d
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p.T @ dout
    dz = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / q.shape[-1]
    return dz @ k, dz.T @ q, dv


# attention_backward: the softmax is left out
# says: the softmax between p and z is left out
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p.T @ dout
    dz = dp / np.sqrt(q.shape[-1])
    return dz @ k, dz.T @ q, dv


# attention_backward: half a softmax
# says: of the softmax, the sum over the row is missing
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p.T @ dout
    dz = p * dp / np.sqrt(q.shape[-1])
    return dz @ k, dz.T @ q, dv


# attention_backward: dz not transposed for dk
# says: dk ... dz has to be transposed for dk
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p.T @ dout
    dz = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return dz @ k, dz @ q, dv


# attention_backward: p not transposed for dv
# says: dv ... p enters transposed
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p @ dout
    dz = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return dz @ k, dz.T @ q, dv


# attention_backward: shapes that do not fit
# says: your code raised ValueError: matmul ... (at: dp = dout @ v)
def my_attention_backward(q, k, v, p, dout):
    dp = dout @ v
    return dp, dp, dp


# attention_backward: two of three
# says: return three gradients, dq, dk and dv
def my_attention_backward(q, k, v, p, dout):
    return dout, p.T @ dout
