"""Wrong answers to the exercises of notebook 09."""


# parameters: no row for padding
# says: each table has a row for padding, too
def my_parameters(num_items, config):
    d = config.d
    tables = 1 if config.shared_embedding else 2
    count = tables * num_items * d + config.positions * config.n * d
    count += config.blocks * (5 + config.output_projection) * (d * d + d)
    return count + config.layer_norm * (2 * config.blocks + 1) * 2 * d


# parameters: no biases
# says: each d x d layer has a bias
def my_parameters(num_items, config):
    d = config.d
    tables = 1 if config.shared_embedding else 2
    count = tables * (num_items + 1) * d + config.positions * config.n * d
    count += config.blocks * (5 + config.output_projection) * d * d
    return count + config.layer_norm * (2 * config.blocks + 1) * 2 * d


# parameters: no layer norms
# says: the layer norms have two vectors each
def my_parameters(num_items, config):
    d = config.d
    tables = 1 if config.shared_embedding else 2
    count = tables * (num_items + 1) * d + config.positions * config.n * d
    return count + config.blocks * (5 + config.output_projection) * (d * d + d)


# parameters: the last norm forgotten
# says: a last norm follows the blocks
def my_parameters(num_items, config):
    d = config.d
    tables = 1 if config.shared_embedding else 2
    count = tables * (num_items + 1) * d + config.positions * config.n * d
    count += config.blocks * (5 + config.output_projection) * (d * d + d)
    return count + config.layer_norm * 2 * config.blocks * 2 * d


# parameters: positions always there
# says: without positions there is no P
def my_parameters(num_items, config):
    d = config.d
    tables = 1 if config.shared_embedding else 2
    count = tables * (num_items + 1) * d + config.n * d
    count += config.blocks * (5 + config.output_projection) * (d * d + d)
    return count + config.layer_norm * (2 * config.blocks + 1) * 2 * d


# parameters: always one table
# says: without shared_embedding there are two tables
def my_parameters(num_items, config):
    d = config.d
    count = (num_items + 1) * d + config.positions * config.n * d
    count += config.blocks * (5 + config.output_projection) * (d * d + d)
    return count + config.layer_norm * (2 * config.blocks + 1) * 2 * d


# parameters: no output projection
# says: output_projection is a layer more
def my_parameters(num_items, config):
    d = config.d
    tables = 1 if config.shared_embedding else 2
    count = tables * (num_items + 1) * d + config.positions * config.n * d
    return (
        count
        + config.blocks * 5 * (d * d + d)
        + config.layer_norm * (2 * config.blocks + 1) * 2 * d
    )


# multiply_adds: the whole square
# says: row t looks at rows 1 to t only
def my_multiply_adds(lengths, d, blocks, num_items):
    return sum(blocks * (5 * n * d**2 + 2 * n * n * d) + (num_items + 1) * d for n in lengths)


# multiply_adds: no row for padding
# says: the padding row is scored along with the others
def my_multiply_adds(lengths, d, blocks, num_items):
    return sum(blocks * (5 * n * d**2 + n * (n + 1) * d) + num_items * d for n in lengths)


# multiply_adds: all rows scored
# says: only the last row of each history is scored
def my_multiply_adds(lengths, d, blocks, num_items):
    return sum(blocks * (5 * n * d**2 + n * (n + 1) * d) + n * (num_items + 1) * d for n in lengths)


# multiply_adds: one long history
# says: histories do not look at each other
def my_multiply_adds(lengths, d, blocks, num_items):
    n, B = sum(lengths), len(lengths)
    return blocks * (5 * n * d**2 + n * (n + 1) * d) + B * (num_items + 1) * d


# multiply_adds: padded to the longest
# says: packed histories are not as long as the longest
def my_multiply_adds(lengths, d, blocks, num_items):
    n, B = max(lengths), len(lengths)
    return B * (blocks * (5 * n * d**2 + n * (n + 1) * d) + (num_items + 1) * d)


# multiply_adds: scores without the weighted sum
# says: scores and weighted sum take as many multiply-adds each
def my_multiply_adds(lengths, d, blocks, num_items):
    return sum(
        blocks * (5 * n * d**2 + n * (n + 1) * d // 2) + (num_items + 1) * d for n in lengths
    )


# multiply_adds: both counted
# says: a multiply-add counts once here
def my_multiply_adds(lengths, d, blocks, num_items):
    return 2 * sum(blocks * (5 * n * d**2 + n * (n + 1) * d) + (num_items + 1) * d for n in lengths)
