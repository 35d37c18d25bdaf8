"""A file a layer, found by its name: what the layer is checked on, and the mistakes it is usually made with.

- cases(draw): the layer's arguments, as `cases.Case` has them. Alone it would do.
- MISTAKES: rows of a name, a family (see `mutants.FAMILIES`), edits of the definition (see `edits.py`), what is wrong
  as one would tell its author, and, where it is a term of a sum that is left out, that term.
- NAMES: by function of the definition, the names that edits are written in, in the order in which it binds them.
- DEFINITION: where that is not the module of the same name in `tinygpt/layers/`.
- AXES: the letters of the axes of what forward takes, for naming a stray factor; if not here, x is (B, T, C).
- MADE_OF: the layers it is made of, whose mistakes may be its own.
- MISTAKES_OF_TWIN: a fast twin, and mistakes that only it can have.
- REFUSED: an argument and a value that forward answers with ValueError.
"""
