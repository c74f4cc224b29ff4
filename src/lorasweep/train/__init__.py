"""Steps in, checkpoints out; a checkpoint in, sample pictures out; resume."""
