"""Folders wherever fsspec reaches: on this machine, or in an object store."""

import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from latadj.inference.streams.reading import Reader, open_reader, reader_of
from latadj.inference.streams.rows import ColumnOptions

# Folders and files whose names begin like this are no data, as for Spark and Hive.
HIDDEN = ("_", ".")
TEMPORARY = "_not-yet-whole"
# What file systems call the mark of a file's contents, or the time of their last change.
CHANGED = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated")
READ_AHEAD = 2**20


class UnreachableError(ValueError):
    """What a file system answers instead of a file or a list of them: it may do better at another time."""


@dataclass(frozen=True)
class Storage:
    """A folder; pickles as its URL.

    Parameters
    ----------
    url : a path, or a URL such as ``s3://bucket/folder``
    option : that named it, for messages
    """

    url: str
    option: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            files, root = url_to_fs(self.url)
        except Exception as error:  # packages of object stores have errors of their own
            raise ValueError(f"{self.option}={self.url}: it cannot be opened: {_first_line(error)}") from error
        return files, root.rstrip("/") or "/"

    @contextmanager
    def _reached(self, done: str = "read") -> Iterator[None]:
        """Around whatever asks its file system.

        Parameters
        ----------
        done : what is done there, for the message

        Raises
        ------
        UnreachableError
            if that fails.
        """
        try:
            yield
        except Exception as error:  # as above
            if isinstance(error, ValueError) or (self.local and not isinstance(error, OSError)):
                raise
            raise UnreachableError(f"{self.option}={self.url}: it cannot be {done}: {_first_line(error)}") from error

    @cached_property
    def _folder(self) -> str:
        """The folder itself, or that of the one file that it is instead."""
        files, root = self._opened
        with self._reached():
            return root.rpartition("/")[0] if files.isfile(root) else root

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url if not self.local else self._opened[1], "option": self.option}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine's file system."""
        return isinstance(self._opened[0], LocalFileSystem)

    @property
    def root(self) -> str:
        """The folder, or the one file that it is instead, as its file system says it."""
        files, root = self._opened
        return root if self.local else str(files.unstrip_protocol(root))

    def files(self) -> dict[str, str]:
        """Names of the files in it and below, sorted, and what tells each from what it was before.

        Raises
        ------
        ValueError
            if there is no such folder, or it cannot be reached.
        """
        files, root = self._opened
        with self._reached():
            if files.isfile(root):
                found = {root: files.info(root)}
            elif files.isdir(root):
                found = files.find(root, detail=True)
            else:
                raise ValueError(f"{self.option}={self.url}: no such file or folder")
        below = {path.removeprefix(self._folder).lstrip("/"): info for path, info in sorted(found.items())}
        return {name: _stamp(info) for name, info in below.items() if not _hidden(name)}

    def names(self, *, below: str = "") -> list[str]:
        """Names of what lies in the folder, or in one of it; none where there is no such folder."""
        files, root = self._opened
        folder = f"{root}/{below}" if below else root
        with self._reached():
            files.invalidate_cache(folder)
            if not files.isdir(folder):
                return []
            return sorted(PurePosixPath(path.rstrip("/")).name for path in files.ls(folder, detail=False))

    def path(self, name: str) -> str:
        """Where a file of it is, as its file system and messages say it."""
        path = f"{self._folder}/{name}"
        return path if self.local else self._opened[0].unstrip_protocol(path)

    def open(self, name: str) -> BinaryIO:
        """A file of it, to read."""
        files, _ = self._opened
        with self._reached():
            return io.BufferedReader(files.open(self.path(name), "rb"), READ_AHEAD)

    def reader(self, name: str, kind: str, options: ColumnOptions) -> Reader:
        """A reader of the rows of a file of it."""
        if self.local:
            return open_reader(self.path(name), kind, options)
        return reader_of(self.open(name), self.path(name), kind, options)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        files, _ = self._opened
        with self._reached():
            files.invalidate_cache(self.path(name).rpartition("/")[0])
            return bool(files.exists(self.path(name)))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file under a temporary name, which takes its own when the block ends well, in place of any before it."""
        files, root = self._opened
        temporary = f"{root}/{TEMPORARY}/{uuid.uuid4().hex}"
        final = f"{root}/{name}"
        with self._reached("written"):
            for path in (temporary, final):
                files.makedirs(path.rpartition("/")[0], exist_ok=True)
            opened = files.open(temporary, "wb")
        try:
            with opened as file:
                yield file
                if self.local:
                    file.flush()
                    os.fsync(file.fileno())
            if self.local:
                os.replace(temporary, final)  # noqa: PTH105
            else:
                with self._reached("written"):
                    files.mv(temporary, final)
        except BaseException:
            if files.exists(temporary):
                files.rm(temporary)
            raise

    def remove(self, *names: str) -> None:
        """Remove files and folders of it, those that are there."""
        files, root = self._opened
        for name in names:
            if files.exists(f"{root}/{name}"):
                files.rm(f"{root}/{name}", recursive=True)


def _hidden(name: str) -> bool:
    return any(part.startswith(HIDDEN) for part in PurePosixPath(name).parts)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _stamp(info: dict[str, Any]) -> str:
    changed = next((info[key] for key in CHANGED if key in info), "")
    return f"{info.get('size')} bytes, {changed}"
