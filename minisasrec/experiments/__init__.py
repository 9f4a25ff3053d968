"""The paper's experiments: grids of runs, tables beside the published ones, pictures."""
