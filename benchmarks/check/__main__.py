"""``python -m benchmarks.check``."""

from benchmarks.check.measure import main

if __name__ == "__main__":
    main()
