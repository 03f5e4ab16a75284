"""A bucket as a pyarrow file system, without the folder markers that pyarrow adds.

pyarrow stands an empty object `folder/` for each folder it is asked to make, and again for the
parent of what it deletes. Servers that keep objects as files (`rclone serve s3`) turn it into a
file that then bars the way to everything below. A bucket needs no folders: here making one does
nothing.
"""

from __future__ import annotations

from typing import Any

from pyarrow.fs import FileInfo, FileSelector, FileSystemHandler, PyFileSystem, S3FileSystem

from daam.storage.store import Store

# With pyarrow's own buffer a file comes at a tenth of the speed from some servers.
BUFFER_SIZE_BYTES = 8 << 20


class BucketFileSystem(FileSystemHandler):
    """Paths are `bucket/key`, as for S3FileSystem; reads, writes and listings are pyarrow's.

    It pickles as the bucket's store does: to an address, without credentials.
    """

    def __init__(self, bucket: Store, *, files: S3FileSystem) -> None:
        """
        Args:
            bucket: the store of the whole bucket.
            files: the same server for pyarrow.
        """
        self._bucket = bucket
        self._name = bucket.uri.removeprefix("s3://")
        self._files = files

    def __reduce__(self) -> tuple[Any, tuple[Store]]:
        return _reopened, (self._bucket,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BucketFileSystem) and other._bucket.uri == self._bucket.uri

    def __hash__(self) -> int:
        return hash(self._bucket.uri)

    def get_type_name(self) -> str:
        return "s3"

    def normalize_path(self, path: str) -> str:
        return self._files.normalize_path(path)

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        return self._files.get_file_info(paths)

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        return self._files.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:  # noqa: FBT001
        """Do nothing: a folder is there as soon as something is in it."""

    def delete_dir(self, path: str) -> None:
        for key in self._bucket.list(f"{self._key(path)}/"):
            self._bucket.delete(key)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = True) -> None:  # noqa: FBT001, FBT002
        del missing_dir_ok  # a folder without contents cannot be told from none
        self.delete_dir(path)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("all buckets of a server are never emptied at once")

    def delete_file(self, path: str) -> None:
        self._bucket.delete(self._key(path))

    def move(self, src: str, dest: str) -> None:
        self.copy_file(src, dest)
        self.delete_file(src)

    def copy_file(self, src: str, dest: str) -> None:
        self._files.copy_file(src, dest)

    def open_input_stream(self, path: str) -> Any:
        return self._files.open_input_stream(path, buffer_size=BUFFER_SIZE_BYTES)

    def open_input_file(self, path: str) -> Any:
        return self._files.open_input_file(path)

    def open_output_stream(self, path: str, metadata: dict[str, str]) -> Any:
        return self._files.open_output_stream(path, metadata=metadata)

    def open_append_stream(self, path: str, metadata: dict[str, str]) -> Any:
        return self._files.open_append_stream(path, metadata=metadata)

    def _key(self, path: str) -> str:
        return path.strip("/").removeprefix(f"{self._name}/")


def _reopened(bucket: Store) -> FileSystemHandler:
    filesystem, _ = bucket.arrow_filesystem()
    if not isinstance(filesystem, PyFileSystem):
        raise TypeError(f"{bucket.uri} is no bucket")
    return filesystem.handler
