"""Wrong answers to the exercises of notebook 08."""


# shifted_targets: not shifted
# says: targets equal inputs: the model would only have to copy; shift by one
def my_inputs_and_targets(sequences, n):
    inputs = np.zeros((len(sequences), n), dtype=int)
    for b, S in enumerate(sequences):
        S = S[-n:]
        inputs[b, n - len(S) :] = S
    return inputs, inputs.copy()


# shifted_targets: swapped
# says: inputs and targets are swapped
def my_inputs_and_targets(sequences, n):
    inputs, targets = np.zeros((2, len(sequences), n), dtype=int)
    for b, S in enumerate(sequences):
        S = S[-(n + 1) :]
        inputs[b, n - len(S) + 1 :] = S[:-1]
        targets[b, n - len(S) + 1 :] = S[1:]
    return targets, inputs


# shifted_targets: n items kept, not n + 1
# says: for history [1, 2, 3, 4] and n = 3, inputs should be [1, 2, 3], yours are [0, 2, 3]
def my_inputs_and_targets(sequences, n):
    inputs, targets = np.zeros((2, len(sequences), n), dtype=int)
    for b, S in enumerate(sequences):
        S = S[-n:]
        inputs[b, n - len(S) + 1 :] = S[:-1]
        targets[b, n - len(S) + 1 :] = S[1:]
    return inputs, targets


# shifted_targets: padding on the right
# says: inputs should be [0, 0, 0, 7, 3, 9], yours are [7, 3, 9, 0, 0, 0]
def my_inputs_and_targets(sequences, n):
    inputs, targets = np.zeros((2, len(sequences), n), dtype=int)
    for b, S in enumerate(sequences):
        S = S[-(n + 1) :]
        inputs[b, : len(S) - 1] = S[:-1]
        targets[b, : len(S) - 1] = S[1:]
    return inputs, targets


# shifted_targets: floats
# says: inputs holds float64, expected whole numbers
def my_inputs_and_targets(sequences, n):
    inputs, targets = np.zeros((2, len(sequences), n))
    for b, S in enumerate(sequences):
        S = S[-(n + 1) :]
        inputs[b, n - len(S) + 1 :] = S[:-1]
        targets[b, n - len(S) + 1 :] = S[1:]
    return inputs, targets


# shifted_targets: one array
# says: return two arrays: inputs, targets
def my_inputs_and_targets(sequences, n):
    return np.zeros((len(sequences), n), dtype=int)


# shifted_targets: changes the histories
# says: your function changes sequences
def my_inputs_and_targets(sequences, n):
    inputs, targets = np.zeros((2, len(sequences), n), dtype=int)
    for b, S in enumerate(sequences):
        del S[: -(n + 1)]
        last = S.pop()
        inputs[b, n - len(S) :] = S
        targets[b, n - len(S) :] = [*S[1:], last]
    return inputs, targets


# bce_backward: positions without a target count
# says: positions without a target count, too
def my_bce_backward(F, N, targets, negatives):
    dF, dN = np.zeros_like(F), np.zeros_like(N)
    for t, (o, j) in enumerate(zip(targets, negatives, strict=True)):
        a = (stable_sigmoid(F[t] @ N[o]) - 1) / len(targets)
        b = stable_sigmoid(F[t] @ N[j]) / len(targets)
        dF[t] = a * N[o] + b * N[j]
        dN[o] += a * F[t]
        dN[j] += b * F[t]
    return dF, dN


# bce_backward: divided by all positions
# says: divide by the number of targets, not of positions
def my_bce_backward(F, N, targets, negatives):
    dF, dN = np.zeros_like(F), np.zeros_like(N)
    for t, (o, j) in enumerate(zip(targets, negatives, strict=True)):
        if o:
            a = (stable_sigmoid(F[t] @ N[o]) - 1) / len(targets)
            b = stable_sigmoid(F[t] @ N[j]) / len(targets)
            dF[t] = a * N[o] + b * N[j]
            dN[o] += a * F[t]
            dN[j] += b * F[t]
    return dF, dN


# bce_backward: the sum
# says: the loss is a mean over the targets; here is the sum
def my_bce_backward(F, N, targets, negatives):
    dF, dN = np.zeros_like(F), np.zeros_like(N)
    for t, (o, j) in enumerate(zip(targets, negatives, strict=True)):
        if o:
            a, b = stable_sigmoid(F[t] @ N[o]) - 1, stable_sigmoid(F[t] @ N[j])
            dF[t] = a * N[o] + b * N[j]
            dN[o] += a * F[t]
            dN[j] += b * F[t]
    return dF, dN


# bce_backward: assigns
# says: dN ... an item that occurs at several positions gets the sum; add with +=
def my_bce_backward(F, N, targets, negatives):
    dF, dN = np.zeros_like(F), np.zeros_like(N)
    count = np.count_nonzero(targets)
    for t, (o, j) in enumerate(zip(targets, negatives, strict=True)):
        if o:
            a = (stable_sigmoid(F[t] @ N[o]) - 1) / count
            b = stable_sigmoid(F[t] @ N[j]) / count
            dF[t] = a * N[o] + b * N[j]
            dN[o] = a * F[t]
            dN[j] = b * F[t]
    return dF, dN


# bce_backward: no negatives
# says: the term of the negatives is missing
def my_bce_backward(F, N, targets, negatives):
    dF, dN = np.zeros_like(F), np.zeros_like(N)
    count = np.count_nonzero(targets)
    for t, o in enumerate(targets):
        if o:
            a = (stable_sigmoid(F[t] @ N[o]) - 1) / count
            dF[t] = a * N[o]
            dN[o] += a * F[t]
    return dF, dN


# bce_backward: without the 1
# says: the slope of -log sigmoid is sigmoid - 1
def my_bce_backward(F, N, targets, negatives):
    dF, dN = np.zeros_like(F), np.zeros_like(N)
    count = np.count_nonzero(targets)
    for t, (o, j) in enumerate(zip(targets, negatives, strict=True)):
        if o:
            a, b = (stable_sigmoid(F[t] @ N[i]) / count for i in (o, j))
            dF[t] = a * N[o] + b * N[j]
            dN[o] += a * F[t]
            dN[j] += b * F[t]
    return dF, dN


# bce_backward: dN as large as F
# says: dN has shape (1, 3), expected (6, 3)
def my_bce_backward(F, N, targets, negatives):
    return np.zeros_like(F), np.zeros_like(F)


# adam_step: no correction
# says: the bias correction is missing
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (np.sqrt(v) + eps), m, v


# adam_step: the hats are returned
# says: you return m hat; return m, the hat is for this step
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m = (beta1 * m + (1 - beta1) * g) / (1 - beta1**t)
    v = (beta2 * v + (1 - beta2) * g**2) / (1 - beta2**t)
    return w - lr * m / (np.sqrt(v) + eps), m, v


# adam_step: eps under the root
# says: eps belongs outside the root
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (1 - beta1**t) / np.sqrt(v / (1 - beta2**t) + eps), m, v


# adam_step: no root
# says: divide by the root of v hat, not by v hat
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (1 - beta1**t) / (v / (1 - beta2**t) + eps), m, v


# adam_step: up the hill
# says: w went up the gradient
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w + lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


# adam_step: the betas turned round
# says: m of step 2 ... beta1 and 1 - beta1 are swapped
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = (1 - beta1) * m + beta1 * g, (1 - beta2) * v + beta2 * g**2
    return w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


# adam_step: no square
# says: v averages g squared
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g
    return w - lr * m / (np.sqrt(np.abs(v)) + eps), m, v


# adam_step: float32, so that the first six digits agree
# says: w of step 2 ... is ... expected
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    new = w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return new.astype(np.float32), m, v


# adam_step: in place
# says: your function changes m
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m *= beta1
    m += (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


# adam_step: the new w alone
# says: return three arrays: w, m, v
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    return w - lr * g


# shifted_targets: one array with two names
# says: you return the targets twice; a = b = np.zeros(...) makes one array with two names
def my_inputs_and_targets(sequences, n):
    inputs = targets = np.zeros((len(sequences), n), dtype=int)
    for b, S in enumerate(sequences):
        S = S[-(n + 1) :]
        inputs[b, n - len(S) + 1 :] = S[:-1]
        targets[b, n - len(S) + 1 :] = S[1:]
    return inputs, targets


# bce_backward: the sign of one term
# says: dF is wrong: the sign of the targets' term
def my_bce_backward(F, N, targets, negatives):
    dF, dN = np.zeros_like(F), np.zeros_like(N)
    count = np.count_nonzero(targets)
    for t, (o, j) in enumerate(zip(targets, negatives, strict=True)):
        if o:
            a = (1 - stable_sigmoid(F[t] @ N[o])) / count
            b = stable_sigmoid(F[t] @ N[j]) / count
            dF[t] = a * N[o] + b * N[j]
            dN[o] += a * F[t]
            dN[j] += b * F[t]
    return dF, dN


# bce_backward: negatives without a target
# says: without a target a position's negative counts no more
def my_bce_backward(F, N, targets, negatives):
    dF, dN = np.zeros_like(F), np.zeros_like(N)
    count = np.count_nonzero(targets)
    for t, (o, j) in enumerate(zip(targets, negatives, strict=True)):
        a = (o > 0) * (stable_sigmoid(F[t] @ N[o]) - 1) / count
        b = stable_sigmoid(F[t] @ N[j]) / count
        dF[t] = a * N[o] + b * N[j]
        dN[o] += a * F[t]
        dN[j] += b * F[t]
    return dF, dN


# bce_backward: overflows
# says: dF holds NaN with scores of 800 ... stable_sigmoid takes any score
def my_bce_backward(F, N, targets, negatives):
    dF, dN = np.zeros_like(F), np.zeros_like(N)
    count = np.count_nonzero(targets)
    for t, (o, j) in enumerate(zip(targets, negatives, strict=True)):
        if o:
            e = np.exp([F[t] @ N[o], F[t] @ N[j]])
            a, b = (e / (1 + e) - [1, 0]) / count
            dF[t] = a * N[o] + b * N[j]
            dN[o] += a * F[t]
            dN[j] += b * F[t]
    return dF, dN


# adam_step: a sum of gradients
# says: m of step 2 ... is wrong: g has the factor 1 - beta1
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


# adam_step: a sum of squares
# says: v of step 2 ... is wrong: the old v has the factor beta2, g squared 1 - beta2
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, v + g**2
    return w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


# adam_step: one hat
# says: v is not corrected; it takes both hats
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (1 - beta1**t) / (np.sqrt(v) + eps), m, v


# adam_step: beta times t
# says: the correction has beta to the power of t, not times t
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (1 - beta1 * t) / (np.sqrt(v / (1 - beta2 * t)) + eps), m, v


# adam_step: eps before the correction
# says: eps is added to the root of v hat, after the correction
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * np.sqrt(1 - beta2**t) * m / (1 - beta1**t) / (np.sqrt(v) + eps), m, v
