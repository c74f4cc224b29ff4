"""Time, memory and what survives a kill."""
