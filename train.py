"""The main job: `python train.py` trains a small GPT here and now; `python train.py --help` lists what to change."""

import sys

from tinygpt.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], prog=f"python {sys.argv[0]}"))
