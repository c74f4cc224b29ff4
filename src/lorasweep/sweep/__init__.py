"""A search: what is tried next, what is not worth going on with, and what was tried already. The door to Optuna."""
