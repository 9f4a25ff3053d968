"""Answers to the exercises of notebook 12; each part replaces its answer cell."""
# ruff: noqa: D103, F821


# exercise: paired_bootstrap
def my_bootstrap(a, b, samples, rng):
    difference = a - b
    U = len(difference)
    means = [difference[rng.integers(U, size=U)].mean() for _ in range(samples)]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)
