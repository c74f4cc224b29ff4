"""The pictures of the README and docs/, each made by a command."""
