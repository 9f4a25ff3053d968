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


# parameters: no bias in the output projection
# says: ; output_projection has a bias, too
def my_parameters(num_items, config):
    d, layers = config.d, config.blocks * (5 + config.output_projection)
    tables = 1 if config.shared_embedding else 2
    count = tables * (num_items + 1) * d + config.positions * config.n * d
    count += layers * (d * d + d) - config.output_projection * config.blocks * d
    return count + config.layer_norm * (2 * config.blocks + 1) * 2 * d


# parameters: no bias in query, key and value
# says: n = 23, d = 6, blocks = 3, heads = 2, dropout = 0.5, is 930, yours is 876 (-54)
def my_parameters(num_items, config):
    d, layers = config.d, config.blocks * (5 + config.output_projection)
    tables = 1 if config.shared_embedding else 2
    count = tables * (num_items + 1) * d + config.positions * config.n * d
    count += layers * (d * d + d) - config.blocks * 3 * d
    return count + config.layer_norm * (2 * config.blocks + 1) * 2 * d


# parameters: NaN
# says:  should be a whole number, yours is nan
def my_parameters(num_items, config):
    d, layers = config.d, config.blocks * (5 + config.output_projection)
    tables = 1 if config.shared_embedding else 2
    count = tables * (num_items + 1) * d + config.positions * config.n * d
    count += layers * (d * d + d) - 0
    return float("nan")


# multiply_adds: empties the lengths
# says: your function changes lengths, which it was given; work on a copy
def my_multiply_adds(lengths, d, blocks, num_items):
    count = 0
    while lengths:
        n = lengths.pop()
        count += blocks * (5 * n * d**2 + n * (n + 1) * d) + (num_items + 1) * d
    return count


# multiply_adds: six linear layers
# says: lengths [4], d = 5, blocks = 1, num_items = 6: 635, yours is 735
def my_multiply_adds(lengths, d, blocks, num_items):
    return sum(blocks * (6 * n * d**2 + n * (n + 1) * d) + (num_items + 1) * d for n in lengths)


# multiply_adds: no scores
# says: scoring all items counts, too
def my_multiply_adds(lengths, d, blocks, num_items):
    return sum(blocks * (5 * n * d**2 + n * (n + 1) * d) for n in lengths)
