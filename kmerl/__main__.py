"""``python -m kmerl``: the same as the command ``kmerl``."""

import sys

from kmerl.cli import main

if __name__ == "__main__":
    sys.exit(main())
