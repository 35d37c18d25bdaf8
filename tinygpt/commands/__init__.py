"""The commands of `tinygpt`, a file each: what `--help` says of it, its flags, and what it does."""
