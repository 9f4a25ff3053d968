"""Wrong answers to the exercises of notebook 06."""


# inverted_dropout: what stays does not grow
# says: y for rate 0.5 is x with some numbers dropped: what stays must grow
def my_dropout(x, keep, rate):
    return x * keep, lambda dy: dy * keep


# inverted_dropout: the share that happened to stay
# says: the share that happened to stay; divide by the one that stays on average
def my_dropout(x, keep, rate):
    factor = keep / keep.mean()
    return x * factor, lambda dy: dy * factor


# inverted_dropout: divided by rate
# says: divide by 1 - rate, not by rate
def my_dropout(x, keep, rate):
    factor = keep / rate if rate else keep
    return x * factor, lambda dy: dy * factor


# inverted_dropout: keep turned round
# says: what is dropped and what stays are swapped
def my_dropout(x, keep, rate):
    factor = ~keep / (1 - rate)
    return x * factor, lambda dy: dy * factor


# inverted_dropout: backward without the factor
# says: dx for rate 0.5 is wrong: the same factor as in y
def my_dropout(x, keep, rate):
    return x * keep / (1 - rate), lambda dy: dy * keep


# inverted_dropout: backward without the mask
# says: what was dropped has no gradient: keep is missing
def my_dropout(x, keep, rate):
    return x * keep / (1 - rate), lambda dy: dy / (1 - rate)


# inverted_dropout: backward hands dy on
# says: dy is handed on as it is
def my_dropout(x, keep, rate):
    return x * keep / (1 - rate), lambda dy: dy


# inverted_dropout: y alone
# says: return y and the function backward
def my_dropout(x, keep, rate):
    return x * keep / (1 - rate)


# inverted_dropout: in place
# says: your function changes x
def my_dropout(x, keep, rate):
    x *= keep / (1 - rate)
    return x, lambda dy: dy * keep / (1 - rate)


# sublayer: no way around, on the way back
# says: dx lacks the direct way
def my_sublayer(x, norm, g, drop):
    a, norm_back = norm(x)
    b, g_back = g(a)
    c, drop_back = drop(b)
    return x + c, lambda dy: norm_back(g_back(drop_back(dy)))


# sublayer: x is not added
# says: y is not that of the text: x itself is not added
def my_sublayer(x, norm, g, drop):
    a, norm_back = norm(x)
    b, g_back = g(a)
    c, drop_back = drop(b)
    return c, lambda dy: norm_back(g_back(drop_back(dy)))


# sublayer: the authors' code
# says: what is added back is norm(x), as in the authors' code
def my_sublayer(x, norm, g, drop):
    a, norm_back = norm(x)
    b, g_back = g(a)
    c, drop_back = drop(b)
    return a + c, lambda dy: norm_back(dy + g_back(drop_back(dy)))


# sublayer: norm around the sum
# says: that is post-norm, with norm around the sum
def my_sublayer(x, norm, g, drop):
    b, g_back = g(x)
    c, drop_back = drop(b)
    y, norm_back = norm(x + c)
    return y, lambda dy: norm_back(dy) + g_back(drop_back(norm_back(dy)))


# sublayer: back in the order of the way forward
# says: dx ... is wrong at
def my_sublayer(x, norm, g, drop):
    a, norm_back = norm(x)
    b, g_back = g(a)
    c, drop_back = drop(b)
    return x + c, lambda dy: dy + drop_back(g_back(norm_back(dy)))


# sublayer: takes the pair for the result
# says: your code raised ... (at: b = g(norm(x)))
def my_sublayer(x, norm, g, drop):
    b = g(norm(x))
    return x + b, lambda dy: dy


# sublayer: backward gives dy alone
# says: dx ... is wrong at
def my_sublayer(x, norm, g, drop):
    c, _ = drop(g(norm(x)[0])[0])
    return x + c, lambda dy: dy


# inverted_dropout: overwrites what it saved
# says: overwrites what it saved: a second call with the same dy gives another gradient
def my_dropout(x, keep, rate):
    factor = keep / (1 - rate)
    y = x * factor

    def backward(dy):
        dx = factor
        dx *= dy
        return dx

    return y, backward


# inverted_dropout: writes dx into y
# says: backward changes the result y in place
def my_dropout(x, keep, rate):
    y = x * keep / (1 - rate)

    def backward(dy):
        y[...] = dy * keep / (1 - rate)
        return y

    return y, backward


# inverted_dropout: sees from y what was dropped
# says: whether a number stays says keep; it may be 0
def my_dropout(x, keep, rate):
    y = x * keep / (1 - rate)
    return y, lambda dy: dy * (y != 0) / (1 - rate)


# inverted_dropout: y over x
# says: dx for rate 0.5 is nan at (0, 0)
def my_dropout(x, keep, rate):
    y = x * keep / (1 - rate)
    return y, lambda dy: dy * y / x


# sublayer: a second mask on the way back
# says: you call drop more than once: each call draws a mask of its own
def my_sublayer(x, norm, g, drop):
    y = x + drop(g(norm(x)[0])[0])[0]

    def backward(dy):
        a, norm_back = norm(x)
        b, g_back = g(a)
        return dy + norm_back(g_back(drop(b)[1](dy)))

    return y, backward
