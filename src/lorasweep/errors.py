"""What went wrong, told to the person who can put it right."""


class UserError(ValueError):
    """Its message is a sentence (or one a line) naming the file or key, its value, and what would be accepted."""


class RunFailedError(UserError):
    """A run that started well could not go on, as when its loss became NaN; its earlier checkpoints stay good."""


class TryAgainError(UserError):
    """Nothing is wrong with what was asked, as when the disk is full or a server does not answer."""
