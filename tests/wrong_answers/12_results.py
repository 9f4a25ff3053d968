"""Wrong answers to the exercise of notebook 12."""


# paired_bootstrap: a normal approximation
# says: as far to both sides of the mean is a normal approximation
def my_bootstrap(a, b, samples, rng):
    d = a - b
    half = 1.96 * d.std() / np.sqrt(len(d))
    return d.mean() - half, d.mean() + half


# paired_bootstrap: mean and spread of the draws
# says: as far to both sides of the mean is a normal approximation
def my_bootstrap(a, b, samples, rng):
    d, U = a - b, len(a)
    means = np.array([d[rng.integers(U, size=U)].mean() for _ in range(samples)])
    return means.mean() - 1.96 * means.std(), means.mean() + 1.96 * means.std()


# paired_bootstrap: mirrored
# says: it is mirrored; take the quantiles of the drawn means themselves
def my_bootstrap(a, b, samples, rng):
    d, U = a - b, len(a)
    means = [d[rng.integers(U, size=U)].mean() for _ in range(samples)]
    return 2 * d.mean() - np.quantile(means, 0.975), 2 * d.mean() - np.quantile(means, 0.025)


# paired_bootstrap: users of their own
# says: too wide, as if each model had users of its own
def my_bootstrap(a, b, samples, rng):
    U = len(a)
    means = [
        a[rng.integers(U, size=U)].mean() - b[rng.integers(U, size=U)].mean()
        for _ in range(samples)
    ]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


# paired_bootstrap: b minus a
# says: you have b minus a
def my_bootstrap(a, b, samples, rng):
    d, U = b - a, len(a)
    means = [d[rng.integers(U, size=U)].mean() for _ in range(samples)]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


# paired_bootstrap: without replacement
# says: all draws have the same mean, so they are without replacement
def my_bootstrap(a, b, samples, rng):
    d = a - b
    means = [rng.permutation(d).mean() for _ in range(samples)]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


# paired_bootstrap: the middle 90%
# says: you have the middle 90%, 2.5% belong to each side
def my_bootstrap(a, b, samples, rng):
    d, U = a - b, len(a)
    means = [d[rng.integers(U, size=U)].mean() for _ in range(samples)]
    return np.quantile(means, 0.05), np.quantile(means, 0.95)


# paired_bootstrap: the spread of users
# says: that is the spread of users, not of their mean
def my_bootstrap(a, b, samples, rng):
    return np.quantile(a - b, 0.025), np.quantile(a - b, 0.975)


# paired_bootstrap: high before low
# says: return low before high
def my_bootstrap(a, b, samples, rng):
    d, U = a - b, len(a)
    means = [d[rng.integers(U, size=U)].mean() for _ in range(samples)]
    return np.quantile(means, 0.975), np.quantile(means, 0.025)


# paired_bootstrap: the means themselves
# says: return two numbers, low and high; got shape (2000,)
def my_bootstrap(a, b, samples, rng):
    d, U = a - b, len(a)
    return [d[rng.integers(U, size=U)].mean() for _ in range(samples)]


# paired_bootstrap: never the last user
# says: draw each of the U users with the same probability
def my_bootstrap(a, b, samples, rng):
    d, U = a - b, len(a)
    means = [d[rng.integers(U - 1, size=U)].mean() for _ in range(samples)]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


# paired_bootstrap: never the first user
# says: draw each of the U users with the same probability
def my_bootstrap(a, b, samples, rng):
    d, U = a - b, len(a)
    means = [d[rng.integers(1, U, size=U)].mean() for _ in range(samples)]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


# paired_bootstrap: a generator of its own
# says: from the same rng you draw two different intervals
def my_bootstrap(a, b, samples, rng):
    d, U = a - b, len(a)
    means = [d[np.random.default_rng().integers(U, size=U)].mean() for _ in range(samples)]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


# paired_bootstrap: always two thousand samples
# says: 400 and 300 samples give the same interval
def my_bootstrap(a, b, samples, rng):
    d, U = a - b, len(a)
    means = [d[rng.integers(U, size=U)].mean() for _ in range(2000)]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)
