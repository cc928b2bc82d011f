"""Errors that are shown to a user: one to three lines (what was seen, what was expected, what to do)."""


class TohumError(Exception):
    """Base of every error that the command line prints without a traceback."""

    exit_code = 2  # wrong usage or bad input


class ConfigError(TohumError):
    """A flag, a recipe key or a combination of them that cannot be honoured."""


class DataError(TohumError):
    """Text, records or a data folder that are not what they should be; names file and line."""


class CheckpointError(TohumError):
    """A model folder or checkpoint that is missing, damaged or of another run."""


class FailedError(TohumError):
    """The work itself failed (full disk, certificate that does not hold)."""

    exit_code = 1


class NonFiniteError(FailedError):
    """Loss or gradient became infinite or not a number; the weights were left unchanged."""


class StoppedError(TohumError):
    """Stopped early on purpose with a checkpoint saved; carries the exit code 75, 130 or 143."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code
