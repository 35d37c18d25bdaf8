"""`python -m tinygpt`, and the command `tinygpt`."""

import sys

from tinygpt.signals import from_the_first_moment


def main() -> int:
    with from_the_first_moment():
        from tinygpt.cli import main

        return main()


if __name__ == "__main__":
    sys.exit(main())
