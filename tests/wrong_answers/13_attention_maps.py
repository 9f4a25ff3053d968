"""Wrong answers to the exercise of notebook 13."""


# average_map: divided by all
# says: divide each entry by the number of histories that have it
def my_average_map(maps, size):
    total = np.zeros((size, size))
    for p in maps:
        m = min(len(p), size)
        total[-m:, -m:] += p[-m:, -m:]
    return total / len(maps)


# average_map: without the short ones
# says: leaves the short histories out
def my_average_map(maps, size):
    return np.mean([p[-size:, -size:] for p in maps if len(p) >= size], axis=0)


# average_map: aligned at the first item
# says: is aligned at the first item; align the last ones
def my_average_map(maps, size):
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for p in maps:
        m = min(len(p), size)
        total[:m, :m] += p[:m, :m]
        count[:m, :m] += 1
    return total / count


# average_map: the sum
# says: is the sum; divide by the number of histories that have it
def my_average_map(maps, size):
    total = np.zeros((size, size))
    for p in maps:
        m = min(len(p), size)
        total[-m:, -m:] += p[-m:, -m:]
    return total


# average_map: transposed
# says: is transposed: row t looks at column s
def my_average_map(maps, size):
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for p in maps:
        m = min(len(p), size)
        total[-m:, -m:] += p[-m:, -m:].T
        count[-m:, -m:] += 1
    return total / count


# average_map: 0 / 0
# says: is NaN somewhere
def my_average_map(maps, size):
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for p in maps:
        m = min(len(p), size)
        total[-m:, -m:] += p[-m:, -m:]
        count[-m:, -m:] += p[-m:, -m:] > 0
    with np.errstate(invalid="ignore"):
        return total / count


# average_map: changes the maps
# says: your function changes maps
def my_average_map(maps, size):
    for p in maps:
        p /= len(maps)
    return sum(p[-size:, -size:] for p in maps)


# average_map: NumPy's mean of what differs in length
# says: your code raised ValueError ... (at: return np.mean(maps, axis=0))
def my_average_map(maps, size):
    return np.mean(maps, axis=0)
