"""One training run: settings, loop, evaluation, metrics, the files it writes."""
