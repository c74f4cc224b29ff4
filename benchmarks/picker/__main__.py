"""``python -m benchmarks.picker``."""

from benchmarks.picker.measure import main

if __name__ == "__main__":
    main()
