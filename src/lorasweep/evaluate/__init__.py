"""Vectors in, scores out, one checkpoint picked: arithmetic that knows no model, no path and no clock."""
