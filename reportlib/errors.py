"""The errors a user can cause or meet, each with what is wrong and how to mend it."""


class ReportlibError(Exception):
    """Base of every error that reportlib raises on purpose.

    Parameters
    ----------
    what : str
        What is wrong, naming the file, key or value.
    mend : str, optional
        What the user can do about it.
    """

    def __init__(self, what: str, mend: str | None = None) -> None:
        super().__init__(what if mend is None else f"{what}\n  To mend it: {mend}")
        self.what = what
        self.mend = mend


class StudyError(ReportlibError):
    """A `study.toml` that cannot be read or does not make sense."""


class EnvironmentFileError(ReportlibError):
    """An environment file that is missing, malformed or asks for what does not exist."""


class PinsConflictError(EnvironmentFileError):
    """An environment file whose versions do not go together."""


class EnvironmentCreationError(ReportlibError):
    """An environment that could not be made, adopted or checked."""


class NotebookParameterError(ReportlibError):
    """A parameter that a notebook does not have, or a value it cannot take."""


class CollectionError(ReportlibError):
    """A collection, its queries or its judgements that cannot be used."""


class CheckpointError(ReportlibError):
    """A checkpoint that cannot be loaded or does not fit the study."""


class CaptureError(ReportlibError):
    """A capture that could not be made."""


class WrongEnvironmentError(CaptureError):
    """A process that is not the environment that it is said to be, or not as that was made."""


class DeviceError(CaptureError):
    """A device that is not there, or that an environment's torch cannot use."""


class CompilerError(CaptureError):
    """No working compiler for colbert-ai's search extensions."""


class StoreError(ReportlibError):
    """A capture folder that is incomplete, damaged or of another schema."""


class IndexFileError(ReportlibError):
    """A ColBERT index folder, or a file in it, that is missing, damaged or not of a kind that is read."""


class DiskSpaceError(ReportlibError):
    """Not enough room on a disk for what is about to be written."""


class ComparisonError(ReportlibError):
    """Captures that cannot be set side by side."""


class RequirementError(ReportlibError):
    """A gate that cannot be opened: a requirement that is not understood, a file that cannot be written."""


class RunError(ReportlibError):
    """A workflow that did not reach its end."""
