"""Wrong answers to the exercises of notebook 01."""


# tanh_backward: changes dy in place
# says: your function changes dy, which it was given; make a new array
def my_tanh_backward(y, dy):
    dy *= 1 - y * y
    return dy


# tanh_backward: no square
# says: the slope is 1 - y^2, with the square
def my_tanh_backward(y, dy):
    return dy * (1 - y)


# tanh_backward: the slope alone
# says: dy is missing
def my_tanh_backward(y, dy):
    return 1 - y * y


# tanh_backward: takes y for x
# says: y is tanh x already
def my_tanh_backward(y, dy):
    return dy * (1 - np.tanh(y) ** 2)


# tanh_backward: the sigmoid
# says: y (1 - y) is the slope of the sigmoid
def my_tanh_backward(y, dy):
    return dy * y * (1 - y)


# tanh_backward: the sign
# says: is wrong: the sign
def my_tanh_backward(y, dy):
    return dy * (y * y - 1)


# tanh_backward: a division
# says: times the slope, not divided by it
def my_tanh_backward(y, dy):
    return dy / (1 - y * y)


# tanh_backward: forgets to return
# says: my_tanh_backward returns nothing; the result goes behind `return`
def my_tanh_backward(y, dy):
    dx = dy * (1 - y * y)


# tanh_backward: adds everything up
# says: has shape (), expected (2, 3)
def my_tanh_backward(y, dy):
    return (dy * (1 - y * y)).sum()


# tanh_backward: an error of Python
# says: your code raised NameError: name 'x' is not defined (at: return dy * (1 - x * x))
def my_tanh_backward(y, dy):
    return dy * (1 - x * x)


# div_backward: shapes as they come
# says: db has shape (3, 2), expected that of b, (2,)
def my_div(a, b):
    return a / b, lambda dy: (dy / b, -dy * a / b**2)


# div_backward: swapped
# says: da is wrong: that is db; return da first
def my_div(a, b):
    return a / b, lambda dy: (-dy * a / b**2, dy / b)


# div_backward: the sign of db
# says: db is wrong: its sign
def my_div(a, b):
    return a / b, lambda dy: (dy / b, dy * a / b**2)


# div_backward: no square
# says: db is wrong: the slope towards b has b^2 below
def my_div(a, b):
    return a / b, lambda dy: (dy / b, -dy * a / b)


# div_backward: times b
# says: da is wrong: the slope towards a is 1 / b
def my_div(a, b):
    return a / b, lambda dy: (dy * b, -dy * a / b**2)


# div_backward: without dy
# says: da is wrong: dy is missing
def my_div(a, b):
    return a / b, lambda dy: (1 / b, -a / b**2)


# div_backward: one gradient
# says: backward must return two gradients, da and db, as a tuple
def my_div(a, b):
    return a / b, lambda dy: dy / b


# div_backward: backward does not return
# says: backward returns nothing
def my_div(a, b):
    def backward(dy):
        da, db = dy / b, -dy * a / b**2

    return a / b, backward


# div_backward: no backward
# says: return y, backward; got a ndarray
def my_div(a, b):
    return a / b


# div_backward: the mean over what was repeated
# says: gradient of argument 1
def my_div(a, b):
    def like(dx, x):
        while dx.ndim > x.ndim:
            dx = dx.mean(axis=0)
        for axis in range(x.ndim):
            if x.shape[axis] == 1:
                dx = dx.mean(axis=axis, keepdims=True)
        return dx

    return a / b, lambda dy: (like(dy / b, a), like(-dy * a / b**2, b))
