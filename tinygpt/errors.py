"""The one exception that stands for a mistake of the user's rather than of the program's."""


class UserError(ValueError):
    """A mistake of the user's, in one sentence; the command line prints it without a traceback."""
