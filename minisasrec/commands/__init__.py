"""What the command lines share: options, one-line errors, exit codes, reports."""
