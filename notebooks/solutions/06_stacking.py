"""Answers to the exercises of notebook 06; each part replaces its answer cell."""
# ruff: noqa: D103, F821


# exercise: inverted_dropout
def my_dropout(x, keep, rate):
    factor = keep / (1 - rate)
    return x * factor, lambda dy: dy * factor


# exercise: sublayer
def my_sublayer(x, norm, g, drop):
    a, norm_back = norm(x)
    b, g_back = g(a)
    c, drop_back = drop(b)
    return x + c, lambda dy: dy + norm_back(g_back(drop_back(dy)))
