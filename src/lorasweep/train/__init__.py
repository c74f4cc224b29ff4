"""Steps in, checkpoints out; a checkpoint in, samples out; resume."""
