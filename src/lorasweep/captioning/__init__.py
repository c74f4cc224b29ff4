"""Captions written by BLIP or a tagger."""
