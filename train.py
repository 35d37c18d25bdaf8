"""The main job: `python train.py` trains a small GPT here and now; `python train.py --help` lists what to change."""

import sys

from tinygpt.signals import from_the_first_moment

if __name__ == "__main__":
    with from_the_first_moment():
        from tinygpt.cli import main

        sys.exit(main(["train", *sys.argv[1:]], prog=f"python {sys.argv[0]}"))
