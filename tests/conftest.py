"""The environment of every test."""

from contracts.environment import _own_environment

__all__ = ["_own_environment"]
