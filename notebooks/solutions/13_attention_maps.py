"""Answers to the exercises of notebook 13; each part replaces its answer cell."""
# ruff: noqa: D103, F821


# exercise: average_map
def my_average_map(maps, size):
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for p in maps:
        m = min(len(p), size)
        total[-m:, -m:] += p[-m:, -m:]
        count[-m:, -m:] += 1
    return total / count
