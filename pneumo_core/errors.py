"""Every error a user can meet, with the exit code of the command that meets it.

A message says what was expected, what came and what to do. Errors are values for people: the command line prints
them as they are, without a traceback, so whatever raises one writes a whole sentence.
"""

from __future__ import annotations


class PneumoError(Exception):
    """Base of the errors this program raises on purpose."""

    exit_code = 1
    """Exit status of a command that ends in this error: 2 for bad input, 1 where the work itself failed."""


class ConfigError(PneumoError, ValueError):
    """A trial configuration holds an unknown key or an impossible value."""

    exit_code = 2


class DatasetError(PneumoError, ValueError):
    """A data folder is missing, empty, has too few classes, or holds files that cannot be used."""

    exit_code = 2


class ImageError(PneumoError, ValueError):
    """One image cannot be decoded, or is refused before decoding."""

    exit_code = 2

    @classmethod
    def refusing(cls, name: str, expected: str, got: str, do: str) -> ImageError:
        """Returns the error that says of a file what was expected, what came and what to do."""
        return cls(f"{name}: expected {expected}, got {got}. {do}.")


class DownloadError(PneumoError, ConnectionError):
    """Something that lives on a server (a data set, pretrained weights) is out of reach."""

    exit_code = 2


class WeightsError(PneumoError, ValueError):
    """A file of backbone weights is missing, unreadable or does not fit the backbone."""

    exit_code = 2


class StoreError(PneumoError, OSError):
    """The store of studies cannot be read or written, or does not hold what was asked for."""

    exit_code = 2


class StudyError(PneumoError, ValueError):
    """A study cannot be started or read as asked: its name is taken, its settings contradict each other."""

    exit_code = 2


class TrackingError(PneumoError, ConnectionError):
    """The MLflow tracking store or server refused, or did not answer."""

    exit_code = 2


class ModelError(PneumoError, ValueError):
    """A registered model is asked for that is not there, is named impossibly, or has lost its files."""

    exit_code = 2


class ServerError(PneumoError, OSError):
    """A server cannot listen where it is told to."""

    exit_code = 2


class PolicyError(PneumoError, ValueError):
    """A promotion policy cannot be found or read, or is overridden without a reason."""

    exit_code = 2


class PromotionError(PneumoError, RuntimeError):
    """The work of a promotion failed: the model that was built is not the one that was tried."""


class ExportError(PneumoError, RuntimeError):
    """An exported model cannot be written, or does not score images as the registered one does."""


class ActivationError(PneumoError, OSError):
    """The cache of activations cannot be used, or would hold what is no number."""


class CacheFullError(ActivationError):
    """The disk that holds the cache of activations is full."""


class OutOfMemoryError(PneumoError, MemoryError):
    """One configuration needs more memory than there is; its trial fails, the study goes on."""


class DivergedError(PneumoError, ArithmeticError):
    """A loss or score stopped being a finite number; the trial fails, the study goes on."""


class WorkerError(PneumoError, RuntimeError):
    """Worker processes cannot be started, or are lost whatever they are given to do."""
