"""``python -m benchmarks.evaluator``."""

from benchmarks.evaluator.measure import main

if __name__ == "__main__":
    main()
