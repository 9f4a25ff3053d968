"""Wrong answers to the exercises of notebook 02."""


# softmax_backward: only the diagonal
# says: only the slope of each output in its own input is there
def my_softmax_backward(y, dy):
    return y * (1 - y) * dy


# softmax_backward: without y
# says: y outside the bracket is missing
def my_softmax_backward(y, dy):
    return dy - (dy * y).sum(axis=-1, keepdims=True)


# softmax_backward: the sign
# says: is wrong: its sign
def my_softmax_backward(y, dy):
    return y * ((dy * y).sum(axis=-1, keepdims=True) - dy)


# softmax_backward: the sum of all rows
# says: the sum belongs to a row, axis=-1
def my_softmax_backward(y, dy):
    return y * (dy - (dy * y).sum())


# softmax_backward: a mean
# says: the number that a row shares is a sum, not a mean
def my_softmax_backward(y, dy):
    return y * (dy - (dy * y).mean(axis=-1, keepdims=True))


# softmax_backward: the sum of dy
# says: the sum is over dy times y
def my_softmax_backward(y, dy):
    return y * (dy - dy.sum(axis=-1, keepdims=True))


# softmax_backward: without keepdims
# says: ValueError: operands could not be broadcast ... (at: return y * (dy - (dy * y).sum(axis=-1)))
def my_softmax_backward(y, dy):
    return y * (dy - (dy * y).sum(axis=-1))


# softmax_backward: the first axis
# says: the sum belongs to a row, axis=-1 and not 0
def my_softmax_backward(y, dy):
    return y * (dy - (dy * y).sum(axis=0, keepdims=True))


# softmax_backward: in place
# says: your function changes dy
def my_softmax_backward(y, dy):
    dy -= (dy * y).sum(axis=-1, keepdims=True)
    return y * dy


# third_term: zero
# says: it is 0: the path through the variance is missing
def my_third_term(xhat, rstd, dxhat):
    return np.zeros_like(xhat)


# third_term: the sign
# says: is wrong: its sign
def my_third_term(xhat, rstd, dxhat):
    return rstd * xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)


# third_term: sum for mean
# says: the sum over i is divided by d, which makes a mean
def my_third_term(xhat, rstd, dxhat):
    return -rstd * xhat * (dxhat * xhat).sum(axis=-1, keepdims=True)


# third_term: r squared
# says: r is in it once
def my_third_term(xhat, rstd, dxhat):
    return -(rstd**2) * xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)


# third_term: twice
# says: it is twice what it should be
def my_third_term(xhat, rstd, dxhat):
    return -2 * rstd * xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)


# third_term: half
# says: it is half of what it should be
def my_third_term(xhat, rstd, dxhat):
    return -rstd / 2 * xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)


# third_term: no sum
# says: it lacks the sum over i
def my_third_term(xhat, rstd, dxhat):
    return -rstd * xhat * dxhat * xhat


# third_term: all three
# says: these are all three terms; the check adds the first two
def my_third_term(xhat, rstd, dxhat):
    mean = dxhat.mean(axis=-1, keepdims=True)
    return rstd * (dxhat - mean - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True))


# third_term: one mean for all rows
# says: a row has a mean of its own, axis=-1
def my_third_term(xhat, rstd, dxhat):
    return -rstd * xhat * (dxhat * xhat).mean()


# third_term: the mean of dxhat
# says: the mean is of dxhat times xhat
def my_third_term(xhat, rstd, dxhat):
    return -rstd * xhat * dxhat.mean(axis=-1, keepdims=True)


# third_term: without r
# says: r is missing
def my_third_term(xhat, rstd, dxhat):
    return -xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)


# third_term: the mean alone
# says: your result has shape
def my_third_term(xhat, rstd, dxhat):
    return -(dxhat * xhat).mean(axis=-1, keepdims=True)


# softmax_backward: plus for minus
# says: the number that a row shares is taken away, not added
def my_softmax_backward(y, dy):
    return y * (dy + (dy * y).sum(axis=-1, keepdims=True))
