"""What a run was: its journal on disk, and MLflow fed from it."""
