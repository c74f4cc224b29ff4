"""One session around one run: model, scorers and journal opened, trained, looked at, picked from."""
