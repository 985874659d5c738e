"""The named exceptions: the library raises them, only `commands/` turns them into words.

Every message says what happened, what was expected, what was received, and the way out.
"""


class FrostlineError(Exception):
    """Base of all errors that a user can do something about."""


class ParameterError(FrostlineError, ValueError):
    """A parameter has a value that makes no sense.

    Args:
        message: what was expected and what was received.
        parameter: the parameter's name in Python, such as `batch_size`.
    """

    def __init__(self, message: str, parameter: str):
        super().__init__(message, parameter)
        self.parameter = parameter

    def __str__(self) -> str:
        return str(self.args[0])


class DatasetError(FrostlineError):
    """The folder or list of images cannot be used as a data set."""


class ImageError(FrostlineError):
    """One image cannot be decoded. The message is the reason, without the path."""


class SplitError(FrostlineError):
    """The images cannot be divided into train, val and test as asked."""


class ClassWeightError(FrostlineError):
    """The weights of the classes cannot be read, or do not fit the classes."""


class BackboneError(FrostlineError):
    """No such backbone, or it cannot be used this way (size, layer, frost line)."""


class WeightsError(FrostlineError):
    """Weights are missing, damaged, unsafe, or do not fit the backbone."""


class DeviceError(FrostlineError):
    """The device that was asked for is not there."""


class EngineError(FrostlineError):
    """No such engine, it cannot run the network, or its numbers are not those of the rows there."""


class ClusterError(FrostlineError):
    """The cluster is not there or was lost, or its workers are not all of one kind."""


class FeatureFileError(FrostlineError):
    """A feature file is none, is damaged, or belongs to something else."""


class LockedError(FrostlineError):
    """Somebody else is writing the same output."""


class StorageError(FrostlineError):
    """The disk is full, or a file or folder cannot be written."""


class OutOfMemoryError(FrostlineError):
    """The process may not take the memory that the work needs."""


class RunError(FrostlineError):
    """A run folder lacks what is needed, or exists where none was expected."""


class HeadError(FrostlineError):
    """This kind of head is not known, or cannot do what is asked of it."""


class PromiseError(FrostlineError):
    """The head cannot promise what was asked for, or there are too few images to show it."""


class ParityError(FrostlineError):
    """The rebuilt model does not reproduce what was recorded."""


class BackendError(FrostlineError):
    """Keras runs in this process on something else than TensorFlow."""


class ServiceError(FrostlineError):
    """A service cannot listen where it was asked to."""


class MissingExtraError(FrostlineError):
    """An optional package is not installed; the message names the extra."""


class ExportError(FrostlineError):
    """A run cannot be exported, or what was written is not the run's model."""


class TrackingError(FrostlineError):
    """A run cannot be logged to MLflow.

    `result` is what the function would have returned, whose run is written and whole; None where
    the work had not begun.
    """

    result: object = None
