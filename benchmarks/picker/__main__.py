"""``python -m benchmarks.picker``."""

from benchmarks.picker.measure.measure import main

if __name__ == "__main__":
    main()
