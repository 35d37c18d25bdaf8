"""The course: from an array to a GPT that runs on your own layers. Begin with `python -m lessons`."""
