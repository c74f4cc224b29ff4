"""A file each for the kinds of base models, and what they share."""
