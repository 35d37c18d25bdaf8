"""A file a function that is no layer, found by its name: the calls it is held to, and the mistakes it is made with.

- DEFINITION: the engine's own. The file's name is the function's, or says more.
- calls(rng): what it is called with, the numbers drawn by a seed (see `calls.Call`).
- MISTAKES: rows of what is wrong, as one would tell its author, and edits (see `gradcheck.edits`) of the module that
  the engine's own stands in. Where the results are those of one of them in every call, the mistake has a name.
"""
