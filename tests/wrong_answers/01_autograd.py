"""Wrong answers to the exercises of notebook 01."""


# topological_order: the order of the walk back
# says: that is the order of the walk back; parents come first
def my_topological(last, parents):
    order = []

    def visit(node):
        if node not in order:
            for parent in parents[node]:
                visit(parent)
            order.append(node)

    visit(last)
    return order[::-1]


# topological_order: a node each time it is met
# says: 'a' is in it 2 times, expected once
def my_topological(last, parents):
    return [n for parent in parents[last] for n in my_topological(parent, parents)] + [last]


# topological_order: itself before its parents
# says: was computed from ... which comes later
def my_topological(last, parents):
    order = []

    def visit(node):
        if node not in order:
            order.append(node)
            for parent in parents[node]:
                visit(parent)

    visit(last)
    order.remove(last)
    return order + [last]


# topological_order: all nodes of the graph
# says: 'e' was not computed from 'f'
def my_topological(last, parents):
    order = []
    while len(order) < len(parents):
        for node in parents:
            if node not in order and all(p in order for p in parents[node]):
                order.append(node)
    return order


# topological_order: without the last one
# says: 'd' is in it 0 times, expected once
def my_topological(last, parents):
    order = []

    def visit(node):
        for parent in parents[node]:
            visit(parent)
            if parent not in order:
                order.append(parent)

    visit(last)
    return order


# topological_order: in the order of the alphabet
# says: which comes later
def my_topological(last, parents):
    found = {last}
    for _ in parents:
        found |= {p for node in found for p in parents[node]}
    return sorted(found)


# topological_order: a set
# says: return a list of nodes
def my_topological(last, parents):
    return " ".join(parents)


# walk_back: from the first to the last
# says: the walk goes from the last node to the first
def my_backward(order, slopes):
    gradient = dict.fromkeys(order, 0.0)
    gradient[order[-1]] = 1.0
    for node in order:
        for parent, slope in slopes[node]:
            gradient[parent] += slope * gradient[node]
    return gradient


# walk_back: assigns
# says: a node that feeds two others gets the sum
def my_backward(order, slopes):
    gradient = dict.fromkeys(order, 0.0)
    gradient[order[-1]] = 1.0
    for node in reversed(order):
        for parent, slope in slopes[node]:
            gradient[parent] = slope * gradient[node]
    return gradient


# walk_back: starts with nothing
# says: the last node starts with 1
def my_backward(order, slopes):
    gradient = dict.fromkeys(order, 0.0)
    for node in reversed(order):
        for parent, slope in slopes[node]:
            gradient[parent] += slope * gradient[node]
    return gradient


# walk_back: the slopes alone
# says: times the gradient that the node has itself
def my_backward(order, slopes):
    gradient = dict.fromkeys(order, 0.0)
    gradient[order[-1]] = 1.0
    for node in reversed(order):
        for parent, slope in slopes[node]:
            gradient[parent] += slope
    return gradient


# walk_back: the gradient of the first alone
# says: return a dict, node -> gradient; got a float
def my_backward(order, slopes):
    gradient = dict.fromkeys(order, 0.0)
    gradient[order[-1]] = 1.0
    for node in reversed(order):
        for parent, slope in slopes[node]:
            gradient[parent] += slope * gradient[node]
    return gradient[order[0]]


# walk_back: forgets the last
# says: the gradient of 'd' is missing
def my_backward(order, slopes):
    gradient = {order[-1]: 1.0}
    for node in reversed(order):
        for parent, slope in slopes[node]:
            gradient[parent] = gradient.get(parent, 0.0) + slope * gradient[node]
    del gradient[order[-1]]
    return gradient


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
# says: return two gradients from backward, da and db; got a ndarray
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


# topological_order: keeps what it has seen
# says: something is kept between the calls, as the set of a default seen=set() is
def my_topological(last, parents, seen=set()):
    if last in seen:
        return []
    seen.add(last)
    return [n for parent in parents[last] for n in my_topological(parent, parents)] + [last]


# walk_back: turns the given order round
# says: your function changes order, which it was given; work on a copy
def my_backward(order, slopes):
    order.reverse()
    gradient = dict.fromkeys(order, 0.0)
    gradient[order[0]] = 1.0
    for node in order:
        for parent, slope in slopes[node]:
            gradient[parent] += slope * gradient[node]
    return gradient


# walk_back: empties the slopes
# says: your function changes slopes, which it was given; work on a copy
def my_backward(order, slopes):
    gradient = dict.fromkeys(order, 0.0)
    gradient[order[-1]] = 1.0
    for node in reversed(order):
        for parent, slope in slopes.pop(node):
            gradient[parent] += slope * gradient[node]
    return gradient


# tanh_backward: plus for minus
# says: the slope is 1 - y^2, with a minus
def my_tanh_backward(y, dy):
    return dy * (1 + y**2)
