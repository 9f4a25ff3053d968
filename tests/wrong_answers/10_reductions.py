"""Wrong answers to the exercise of notebook 10."""


# become_fism: returns nothing
# says: become_fism returns nothing; the result goes behind `return`
def become_fism(model):
    model.blocks[0].attention.query.W.data[:] = 0


# become_fism: the ReLU cuts
# says: its negative features cut to 0: the ReLU is in the way
def become_fism(model):
    attention, ffn = model.blocks[0].attention, model.blocks[0].ffn
    identity = np.eye(model.config.d)
    for layer, W in ((attention.query, 0), (attention.value, identity), (ffn.layer1, identity),
                     (ffn.layer2, identity)):  # fmt: skip
        layer.W.data[:], layer.b.data[:] = W, 0
    return model


# become_fism: the model is as it was
# says: feature ... of F is
def become_fism(model):
    return model


# become_fism: only attention is set
# says: feature ... of F is
def become_fism(model):
    attention = model.blocks[0].attention
    attention.query.W.data[:], attention.query.b.data[:] = 0, 0
    attention.value.W.data[:], attention.value.b.data[:] = np.eye(model.config.d), 0
    return model


# become_fism: changes the items
# says: the item tables M and N were to stay as they are
def become_fism(model):
    model.item_embedding.table.data[:] = 0
    return model


# become_fism: another model
# says: expected the model
def become_fism(model):
    return SASRec(6, SASRecConfig(n=8, d=5, blocks=0)).parameters()


# become_fism: a new model without blocks
# says: the model has other settings now
def become_fism(model):
    return SASRec(6, SASRecConfig(n=8, d=model.config.d, blocks=0))


# become_fism: a weight in double precision
# says: blocks.0.attention.value.W holds float64 now, and the other weights float32
def become_fism(model):
    attention, ffn = model.blocks[0].attention, model.blocks[0].ffn
    identity, lift = np.eye(model.config.d), 2
    for layer, W, b in ((attention.query, 0, 0), (attention.value, identity, 0),
                        (ffn.layer1, identity, lift), (ffn.layer2, identity, -lift)):  # fmt: skip
        layer.W.data[:], layer.b.data[:] = W, b
    attention.value.W.data = identity
    return model


# become_fism: lifted too high
# says: float32 keeps few digits: take a smaller b1
def become_fism(model):
    attention, ffn = model.blocks[0].attention, model.blocks[0].ffn
    identity, lift = np.eye(model.config.d), 1e4
    for layer, W, b in ((attention.query, 0, 0), (attention.value, identity, 0),
                        (ffn.layer1, identity, lift), (ffn.layer2, identity, -lift)):  # fmt: skip
        layer.W.data[:], layer.b.data[:] = W, b
    return model
