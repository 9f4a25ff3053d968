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


# causal_mask: as many slots as histories
# says: could not be broadcast together with shapes (2,1,3) (2,2)
def my_causal_mask(real):
    B = len(real)
    return np.tril(np.ones((B, B), dtype=bool)) & (real[:, None, :] | np.eye(B, dtype=bool))


# causal_mask: four slots, always
# says: could not be broadcast
def my_causal_mask(real):
    return np.tril(np.ones((4, 4), dtype=bool)) & (real[:, None, :] | np.eye(4, dtype=bool))


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


# attention: no mask
# says: the mask is missing
def my_attention(q, k, v, allowed):
    e = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention: the mask after the softmax
# says: zeros after it leave the future in the sum
def my_attention(q, k, v, allowed):
    e = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
    p = e / e.sum(axis=-1, keepdims=True) * allowed
    return p @ v, p


# attention: a mask of its own
# says: with the first 2 slots padding ... allowed says who sees whom; it is not always the triangle
def my_attention(q, k, v, allowed):
    mask = np.tril(np.ones((len(q), len(q)), dtype=bool))
    z = np.where(mask, q @ k.T / np.sqrt(q.shape[-1]), -np.inf)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention: masked scores of 0
# says: the masked scores are 0, and e^0 = 1; they must be -inf
def my_attention(q, k, v, allowed):
    e = np.exp(q @ k.T / np.sqrt(q.shape[-1]) * allowed)
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention: no scale
# says: the scores are not divided by sqrt(d)
def my_attention(q, k, v, allowed):
    e = np.exp(np.where(allowed, q @ k.T, -np.inf))
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention: divided by d
# says: divided by sqrt(d), not by d
def my_attention(q, k, v, allowed):
    e = np.exp(np.where(allowed, q @ k.T / q.shape[-1], -np.inf))
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention: softmax of the columns
# says: the softmax is over each row (axis=-1)
def my_attention(q, k, v, allowed):
    e = np.exp(np.where(allowed, q @ k.T / np.sqrt(q.shape[-1]), -np.inf))
    p = e / e.sum(axis=0)
    return p @ v, p


# attention: overflows
# says: e^z overflows; take the largest number of the row away
def my_attention(q, k, v, allowed):
    e = np.exp(np.where(allowed, q @ k.T / np.sqrt(q.shape[-1]), -np.inf))
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention: the output alone
# says: return two arrays: out, p; got a ndarray
def my_attention(q, k, v, allowed):
    z = np.where(allowed, q @ k.T / np.sqrt(q.shape[-1]), -np.inf)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True) @ v


# attention: not divided by the sum
# says: divide by the sum of the row
def my_attention(q, k, v, allowed):
    p = np.exp(np.where(allowed, q @ k.T / np.sqrt(q.shape[-1]), -np.inf))
    return p @ v, p


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


# attention: the maximum before the mask
# says: larger than the rest of its row ... mask z first; of what is left in a row take the largest
def my_attention(q, k, v, allowed):
    z = q @ k.T / np.sqrt(q.shape[-1])
    e = np.exp(z - z.max(axis=-1, keepdims=True)) * allowed
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention: one maximum for all rows
# says: take away from each row its own largest number
def my_attention(q, k, v, allowed):
    z = np.where(allowed, q @ k.T / np.sqrt(q.shape[-1]), -np.inf)
    e = np.exp(z - z.max())
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention: a million for infinity
# says: p is not 0 where a row may not look: the masked scores must be -inf
def my_attention(q, k, v, allowed):
    z = np.where(allowed, q @ k.T / np.sqrt(q.shape[-1]), -1e6)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention: large scores are cut
# says: p for scores of about 1,000 is
def my_attention(q, k, v, allowed):
    z = np.where(allowed, q @ k.T / np.sqrt(q.shape[-1]), -np.inf)
    e = np.exp(np.minimum(z, 700))
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention: the root of n
# says: the scores are divided by sqrt(d), not by sqrt(n)
def my_attention(q, k, v, allowed):
    z = np.where(allowed, q @ k.T / np.sqrt(len(q)), -np.inf)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, p


# attention_backward: dv first
# says: you return dv, dq, dk; return dq, dk, dv, in this order
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p.T @ dout
    dz = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return dv, dz @ k, dz.T @ q


# attention_backward: dq and dk exchanged
# says: you return dk, dq, dv; return dq, dk, dv, in this order
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p.T @ dout
    dz = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return dz.T @ q, dz @ k, dv


# attention_backward: the sign of dk
# says: dk for n = 3, d = 2 is wrong: its sign
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p.T @ dout
    dz = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return dz @ k, -dz.T @ q, dv


# attention_backward: the sum of all rows
# says: of the softmax, the sum belongs to a row, axis=-1
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p.T @ dout
    dz = p * (dp - (dp * p).sum()) / np.sqrt(q.shape[-1])
    return dz @ k, dz.T @ q, dv


# attention_backward: the sum of the columns
# says: of the softmax, the sum is along axis -1, not 0
def my_attention_backward(q, k, v, p, dout):
    dp, dv = dout @ v.T, p.T @ dout
    dz = p * (dp - (dp * p).sum(axis=0)) / np.sqrt(q.shape[-1])
    return dz @ k, dz.T @ q, dv
