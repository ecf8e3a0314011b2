"""Training runs: settings, run folders, checkpoints and logs."""
