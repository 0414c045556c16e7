"""What can go wrong, said in one line each: what was expected, what came, what to do."""


class LowlightError(Exception):
    """Base of every error that a user can cause or mend; its text is one line without a traceback."""


class PhotoError(LowlightError):
    """A file is no photo that can be read or written here."""


class WeightsError(LowlightError):
    """A weights file is missing, broken, or not what its header says."""


class UseError(LowlightError):
    """A command was asked for what cannot be done as asked: names that collide, a value that says nothing."""


class ControlError(LowlightError):
    """A control is unknown or out of its range."""


class EngineError(LowlightError):
    """An engine or device is not at hand, or gave a result that is no picture."""


class RecipeError(LowlightError):
    """A training recipe or its data is not usable as written."""
