"""Answers to the exercises of notebook 08; each part replaces its answer cell."""
# ruff: noqa: D103, F821


# exercise: shifted_targets
def my_inputs_and_targets(sequences, n):
    inputs, targets = np.zeros((2, len(sequences), n), dtype=int)
    for b, S in enumerate(sequences):
        S = S[-(n + 1) :]
        inputs[b, n - len(S) + 1 :] = S[:-1]
        targets[b, n - len(S) + 1 :] = S[1:]
    return inputs, targets


# exercise: bce_backward
def my_bce_backward(F, N, targets, negatives):
    dF, dN = np.zeros_like(F), np.zeros_like(N)
    count = np.count_nonzero(targets)
    for t, (o, j) in enumerate(zip(targets, negatives, strict=True)):
        if o == 0:
            continue
        a = (stable_sigmoid(F[t] @ N[o]) - 1) / count
        b = stable_sigmoid(F[t] @ N[j]) / count
        dF[t] = a * N[o] + b * N[j]
        dN[o] += a * F[t]
        dN[j] += b * F[t]
    return dF, dN


# exercise: adam_step
def my_adam_step(w, g, m, v, t, lr=0.001, beta1=0.9, beta2=0.98, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
