"""All errors of daam. A message says what is wrong, where, and what to do about it."""

import re

LINE_END = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


class DaamError(Exception):
    """Anything a user can cause and fix; `daam` prints it as one line and exits with 2.

    Messages quote files of others, which must not control the terminal that they are printed on: a
    message is one line, and what cannot be printed is escaped.
    """

    exit_code = 2

    def __str__(self) -> str:
        line = LINE_END.sub(" ", super().__str__())
        return "".join(
            sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line
        )


class ConfigError(DaamError):
    """A setting that does not exist, is out of range or contradicts another."""


class DataError(DaamError):
    """An image, folder or dataset that cannot be used."""


class LayoutError(DataError):
    """A folder or file name that does not follow its dataset's layout."""


class ShardError(DataError):
    """A shard or manifest that is missing, damaged or not of daam."""


class ImportInterruptedError(DataError):
    """An import or a copy was stopped before its end; the same command resumes it."""

    exit_code = 130


class StorageError(DaamError):
    """A store that cannot be reached, refuses, or has no such key."""


class FencedError(StorageError):
    """Another process has taken over what this one was writing, which has to stop."""

    exit_code = 1


class DriverError(DaamError):
    """Another process is running the study or run."""


class TrainingError(DaamError):
    """A run that cannot start or continue."""


class NonFiniteLossError(TrainingError):
    """A loss term became NaN or infinite; the message names the term."""


class WorkersError(TrainingError):
    """Workers died, or lost each other or their store, more often than a run may restart them."""


class RunInterruptedError(TrainingError):
    """A run was stopped before its end; it can be resumed."""

    exit_code = 130


class CheckpointError(DaamError):
    """A checkpoint that is missing, damaged or of another run."""


class ExportError(DaamError):
    """A model file whose embeddings would differ from its checkpoint's."""


class EvaluationError(DaamError):
    """Scores that cannot be computed from the given data."""


class StudyError(DaamError):
    """A study that cannot start or be resumed."""


class StudyInterruptedError(StudyError):
    """A study was stopped before its end; it can be resumed."""

    exit_code = 130


class StudyPausedError(StudyError):
    """A study cannot go on until its surroundings are fixed: disk, store, memory, machines."""

    exit_code = 1


class ClusterError(DaamError):
    """A cluster that cannot be started, reached or stopped, or has faults."""
