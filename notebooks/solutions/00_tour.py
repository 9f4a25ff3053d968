"""Answer to the exercise of notebook 00; it replaces the answer cell."""
# ruff: noqa: F821

# exercise: next_volume
candidates = [[i - 2, i - 1, i] for i in np.flatnonzero(next_volume) if i > 2]
my_history = next(
    history for history in candidates if top_items(model, history, 1) == [next_volume[history[-1]]]
)
