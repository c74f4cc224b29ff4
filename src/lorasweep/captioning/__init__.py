"""Captions for photos that have none, written by BLIP or a tagger."""
