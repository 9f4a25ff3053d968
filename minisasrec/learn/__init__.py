"""One training, from its settings to a folder with what came of it."""
