"""Answers to the exercises of notebook 01; each part replaces its answer cell."""
# ruff: noqa: D103, F821


# exercise: tanh_backward
def my_tanh_backward(y, dy):
    return dy * (1 - y * y)


# exercise: div_backward
def my_div(a, b):
    y = a / b

    def backward(dy):
        return sum_to_shape(dy / b, a.shape), sum_to_shape(-dy * y / b, b.shape)

    return y, backward
