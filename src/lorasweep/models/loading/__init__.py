"""Base models from disk into memory, whole or kept small."""
