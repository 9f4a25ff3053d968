"""Answer to the exercise of notebook 10; it replaces the answer cell."""
# ruff: noqa: D103, F821


# exercise: become_fism
def become_fism(model):
    attention, ffn = model.blocks[0].attention, model.blocks[0].ffn
    identity = np.eye(model.config.d)
    for layer, W, b in (
        (attention.query, 0, 0),  # every score 0: uniform weights
        (attention.value, identity, 0),
        (ffn.layer1, identity, 2),  # features lie in [-1, 1]: now all are above 0
        (ffn.layer2, identity, -2),
    ):
        layer.W.data[:], layer.b.data[:] = W, b
    return model
