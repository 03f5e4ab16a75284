"""Tables in a temporary file, for lists that may be too long for memory."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from daam.errors import StorageError

CACHE_KIB = 8 << 10
PRIMARY = 0xFF  # the part of an error's code that tells its kind
DISK_ERRORS = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
)


def temporary_tables(schema: str) -> sqlite3.Connection:
    """Tables that SQLite keeps in memory up to 8 MiB, and beyond that in a file without a name.

    The file lies in SQLITE_TMPDIR, TMPDIR, /var/tmp or /tmp, the first that can be, and is gone
    once the connection is closed or the process has ended in whatever way.

    Args:
        schema: statements that create the tables.
    """
    connection = sqlite3.connect("", check_same_thread=False)
    connection.executescript(
        # What a crash leaves is gone with the process, so nothing is to be rolled back.
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;"
        f"PRAGMA cache_size = -{CACHE_KIB}; {schema}"
    )
    return connection


@contextmanager
def full_disk_told(what: str) -> Iterator[None]:
    """Tell of a disk that does not take the tables as a StorageError.

    Args:
        what: is in the tables.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & PRIMARY not in DISK_ERRORS:
            raise
        raise StorageError(
            f"cannot keep {what} in a temporary file: {error}; free some space or set TMPDIR to a "
            "folder that has it"
        ) from error
