"""`python -m tinygpt`: the same as the command `tinygpt`."""

import sys

from tinygpt.cli import main

if __name__ == "__main__":
    sys.exit(main())
