"""One session around one run: base model, scorers and journal opened, trained, scored, picked from."""
