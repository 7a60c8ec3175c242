"""`python -m vhpack` is `vhpack`."""

import sys

from vhpack.cli import main

if __name__ == "__main__":
    sys.exit(main())
