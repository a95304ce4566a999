"""`python -m rehook`: the command line."""

import sys

from rehook.cli import main

if __name__ == "__main__":
    sys.exit(main())
