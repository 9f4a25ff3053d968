"""Wrong answers to the exercises of notebook 03."""


# layer_norm_kernel: overwrites x
# says: your function changes x, which it was given
@numba.njit
def my_layer_norm(x, gamma, beta, eps):
    T, d = x.shape
    for t in range(T):
        mean = x[t].mean()
        variance = 0.0
        for j in range(d):
            variance += (x[t, j] - mean) ** 2 / d
        for j in range(d):
            x[t, j] = gamma[j] * (x[t, j] - mean) / np.sqrt(variance + eps) + beta[j]
    return x


# layer_norm_kernel: not compiled
# says: right numbers, but plain Python; put @numba.njit above the function
def my_layer_norm(x, gamma, beta, eps):
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


# layer_norm_kernel: says that it is compiled
# says: right numbers, but plain Python; put @numba.njit above the function
def my_layer_norm(x, gamma, beta, eps):
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


my_layer_norm.py_func = my_layer_norm.__wrapped__ = my_layer_norm
my_layer_norm.compiled = True


# layer_norm_kernel: eps outside the root
# says: eps belongs under the root
def my_layer_norm(x, gamma, beta, eps):
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return gamma * (x - mean) / (np.sqrt(variance) + eps) + beta


# layer_norm_kernel: no eps
# says: eps is missing under the root
def my_layer_norm(x, gamma, beta, eps):
    return gamma * (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True) + beta


# layer_norm_kernel: no root
# says: divide by the root of the variance
def my_layer_norm(x, gamma, beta, eps):
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return gamma * (x - mean) / (variance + eps) + beta


# layer_norm_kernel: divided by d - 1
# says: the mean of squares is divided by d, not by d - 1
def my_layer_norm(x, gamma, beta, eps):
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True, ddof=1)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


# layer_norm_kernel: gamma and beta swapped
# says: gamma and beta are swapped
def my_layer_norm(x, gamma, beta, eps):
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return beta * (x - mean) / np.sqrt(variance + eps) + gamma


# layer_norm_kernel: no gamma and beta
# says: gamma and beta are missing
def my_layer_norm(x, gamma, beta, eps):
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps)


# layer_norm_kernel: what Numba cannot compile, an argument of mean
# says: Numba cannot compile your function: ... (at:
@numba.njit
def my_layer_norm(x, gamma, beta, eps):
    mean = x.mean(axis=1, keepdims=True)
    return x - mean


# layer_norm_kernel: a name that is not there
# says: Numba cannot compile your function: ... name 'varance' is not defined
@numba.njit
def my_layer_norm(x, gamma, beta, eps):
    return varance(x)


# layer_norm_kernel: one type, then another
# says: Numba cannot compile your function: Cannot unify
@numba.njit
def my_layer_norm(x, gamma, beta, eps):
    y = 0
    if eps > 1:
        y = x
    return y


# scatter_add_kernel: the size from the ids
# says: size says how many, also where the last ids do not occur
@numba.njit
def my_scatter_add(dy, ids, size):
    table = np.zeros((ids.max() + 1, dy.shape[1]))
    for t in range(len(ids)):
        for j in range(dy.shape[1]):
            table[ids[t], j] += dy[t, j]
    return table


# scatter_add_kernel: assigns
# says: where an id repeats only its last row of dy is there; add with +=
@numba.njit
def my_scatter_add(dy, ids, size):
    table = np.zeros((size, dy.shape[1]))
    for t in range(len(ids)):
        for j in range(dy.shape[1]):
            table[ids[t], j] = dy[t, j]
    return table


# scatter_add_kernel: NumPy's +=
# says: where an id repeats only its last row of dy is there; add with +=
def my_scatter_add(dy, ids, size):
    table = np.zeros((size, dy.shape[1]))
    table[ids] += dy
    return table


# scatter_add_kernel: not compiled
# says: plain Python; put @numba.njit above
def my_scatter_add(dy, ids, size):
    table = np.zeros((size, dy.shape[1]))
    np.add.at(table, ids, dy)
    return table


# scatter_add_kernel: the mean
# says: it is divided by how often an id occurs
def my_scatter_add(dy, ids, size):
    table = np.zeros((size, dy.shape[1]))
    np.add.at(table, ids, dy)
    return table / np.maximum(np.bincount(ids, minlength=size), 1)[:, None]


# scatter_add_kernel: a row for each of dy
# says: has shape (6, 2), expected (5, 2)
@numba.njit
def my_scatter_add(dy, ids, size):
    table = np.zeros_like(dy)
    for t in range(len(ids)):
        table[t] += dy[t]
    return table


# scatter_add_kernel: no return
# says: my_scatter_add returns nothing
@numba.njit
def my_scatter_add(dy, ids, size):
    table = np.zeros((size, dy.shape[1]))
    for t in range(len(ids)):
        table[ids[t]] += dy[t]


# scatter_add_kernel: always five rows
# says: has shape (5, 3), expected (9, 3)
@numba.njit
def my_scatter_add(dy, ids, size):
    table = np.zeros((5, dy.shape[1]))
    for t in range(len(ids)):
        table[ids[t]] += dy[t]
    return table


# scatter_add_kernel: one row more than the ids
# says: has shape ... expected
@numba.njit
def my_scatter_add(dy, ids, size):
    table = np.zeros((ids.max() + 2, dy.shape[1]))
    for t in range(len(ids)):
        table[ids[t]] += dy[t]
    return table
