"""The environment of every test of the benchmarks."""

from contracts.environment import _own_environment

__all__ = ["_own_environment"]
