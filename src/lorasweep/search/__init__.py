"""A search: what is tried next, what is pruned, and what was tried before."""
