"""Answers to the exercises of notebook 09; each part replaces its answer cell."""
# ruff: noqa: D103


# exercise: parameters
def my_parameters(num_items, config):
    d = config.d
    tables = 1 if config.shared_embedding else 2
    count = tables * (num_items + 1) * d
    count += config.positions * config.n * d
    count += config.blocks * (5 + config.output_projection) * (d * d + d)
    count += config.layer_norm * (2 * config.blocks + 1) * 2 * d
    return count


# exercise: multiply_adds
def my_multiply_adds(lengths, d, blocks, num_items):
    count = 0
    for n in lengths:
        count += blocks * (5 * n * d**2 + n * (n + 1) * d)
        count += (num_items + 1) * d
    return count
