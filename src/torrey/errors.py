"""The errors and warnings that Torrey raises.

Every error a user can cause derives from `TorreyError` and from the builtin that fits, and its message is one
line that names the file, the field and the value, and says what was expected. The command line prints that
line and exits with code 2.
"""


class TorreyError(Exception):
    """Base of every error that Torrey raises on purpose."""


class InputError(TorreyError, ValueError):
    """A value that the user gave is wrong: shape, sign, range or likely unit."""


class FileError(InputError):
    """A file is missing, empty, unreadable, of the wrong format, or cannot be written."""


class MeshError(InputError):
    """A mesh is not fit for simulation: inverted, degenerate, disconnected or non-manifold."""


class ConvergenceError(TorreyError, RuntimeError):
    """An iterative method did not reach the tolerance it was asked for."""


class TaskError(TorreyError, RuntimeError):
    """Tasks of an experiment failed; the message counts them and gives the first."""


class MissingLibraryError(TorreyError, ImportError):
    """An optional library is needed; the message names the extra that installs it."""


class AccuracyWarning(UserWarning):
    """The answer is less accurate than asked for; the message gives the estimated error."""
