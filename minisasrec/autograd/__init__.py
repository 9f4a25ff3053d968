"""The engine: tensors, the backward pass, ops and their gradient checks. It knows arrays only."""
