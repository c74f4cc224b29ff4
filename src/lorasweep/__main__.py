"""``python -m lorasweep`` is the console script ``lorasweep``."""

import sys

from lorasweep.cli import main

if __name__ == "__main__":
    sys.exit(main())
