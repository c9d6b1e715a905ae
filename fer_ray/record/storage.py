"""A folder on this machine or in an object store, with the handful of operations a run needs."""

import copy
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from pyarrow import fs

_TEMPORARY = ".part"


class StorageError(ValueError):
    """A place cannot be opened, read or written; the message says which, why and what to do."""


class Folder:
    """A folder given as a local path or as a URI that `pyarrow.fs` understands.

    Names are relative to the folder and may hold slashes. Nothing is created before the first
    write. `str` gives what was meant in a form to paste: a path, or a URI without password.

    >>> str(Folder("file:///data") / "runs")
    '/data/runs'
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        """Open a place without touching it.

        Args:
            place: A path (`~` is the home directory) or a URI such as `s3://bucket/runs`.

        Raises:
            StorageError: The URI is not understood, or it carries a password.
        """
        self._filesystem, self._path = _open(os.fspath(place))
        self._prefix, self._query = "", ""
        if not self.is_local:
            base, _, query = os.fspath(place).partition("?")
            self._prefix = base.rstrip("/").removesuffix(self._path)
            self._query = f"?{query}" if query else ""

    def __truediv__(self, name: str) -> "Folder":
        child = copy.copy(self)
        child._path = self._at(name)
        return child

    def __str__(self) -> str:
        return f"{self._prefix}{self._path}{self._query}"

    def __repr__(self) -> str:
        return f"Folder({str(self)!r})"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._path.rsplit("/", 1)[-1]

    @property
    def is_local(self) -> bool:
        """Whether the folder is a directory of this machine."""
        return isinstance(self._filesystem, fs.LocalFileSystem)

    @property
    def local_path(self) -> Path:
        """The directory itself.

        Raises:
            StorageError: The folder is not on this machine.
        """
        if not self.is_local:
            raise StorageError(f"{self}: expected a directory of this machine, got a remote place")
        return Path(self._path)

    def make(self) -> "Folder":
        """Create the folder and its parents where they are missing; returns itself."""
        self._filesystem.create_dir(self._path, recursive=True)
        return self

    def exists(self, name: str = "") -> bool:
        """Whether a file or folder of that name is there; without name, the folder itself."""
        return bool(self._info(name).type != fs.FileType.NotFound)

    def names(self) -> list[str]:
        """Files and folders directly inside, sorted; nothing if the folder is missing."""
        selector = fs.FileSelector(self._path, allow_not_found=True)
        children = (info.base_name for info in self._filesystem.get_file_info(selector))
        return sorted(name for name in children if not name.endswith(_TEMPORARY))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file as a whole: a reader sees the old content or the new, never a part."""
        if self.is_local:
            _replace(Path(self._at(name)), data)
            return
        path = self._at(name)
        try:
            self._upload(path, data)
        except FileNotFoundError:  # stores with real directories want them first
            self._filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
            self._upload(path, data)

    def write_text(self, name: str, text: str) -> None:
        """Write a file of UTF-8 text as a whole."""
        self.write_bytes(name, text.encode())

    def read_bytes(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            FileNotFoundError: There is no such file.
        """
        with self._filesystem.open_input_file(self._at(name)) as file:
            return bytes(file.read())

    def read_text(self, name: str) -> str:
        """Content of a file of UTF-8 text.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return self.read_bytes(name).decode()

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with everything in it; a missing one is fine."""
        kind = self._info(name).type
        if kind == fs.FileType.Directory:
            self._filesystem.delete_dir(self._at(name))
        elif kind != fs.FileType.NotFound:
            self._filesystem.delete_file(self._at(name))

    def copy_tree_from(self, local: str | os.PathLike[str]) -> None:
        """Copy everything inside a local directory into this folder; files are overwritten."""
        self.make()
        source = str(Path(local).absolute())
        fs.copy_files(
            source,
            self._path,
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=self._filesystem,
        )

    def download(self, name: str, local: str | os.PathLike[str]) -> Path:
        """Copy a file or a tree from here to a local path.

        Args:
            name: A file or a folder in here.
            local: Where the copy goes: the file's own path, or the directory that becomes the tree.

        Returns:
            The local path.

        Raises:
            FileNotFoundError: There is nothing of that name.
        """
        target = Path(local).absolute()
        info = self._info(name)
        if info.type == fs.FileType.NotFound:
            raise FileNotFoundError(f"{self / name}: nothing there")
        directory = target if info.type == fs.FileType.Directory else target.parent
        directory.mkdir(parents=True, exist_ok=True)
        fs.copy_files(
            self._at(name),
            str(target),
            source_filesystem=self._filesystem,
            destination_filesystem=fs.LocalFileSystem(),
        )
        return target

    def check_writable(self) -> None:
        """Write and delete a small file, so that a run fails now and not after its first epoch.

        Raises:
            StorageError: The folder cannot be made or written.
        """
        probe = f"probe-{secrets.token_hex(4)}"
        try:
            self.make().write_bytes(probe, b"")
            self.delete(probe)
        except (OSError, ValueError, NotImplementedError) as error:
            raise StorageError(
                f"{self}: expected a folder that can be written, got "
                f"{type(error).__name__}: {_one_line(error)}. Choose another --storage, or grant "
                "write access to this one (an object store also needs credentials in the "
                "environment)."
            ) from error

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}" if name else self._path

    def _info(self, name: str) -> fs.FileInfo:
        return self._filesystem.get_file_info(self._at(name))

    def _upload(self, path: str, data: bytes) -> None:
        with self._filesystem.open_output_stream(path) as stream:
            stream.write(data)


def _open(place: str) -> tuple[fs.FileSystem, str]:
    """Resolve a path or URI to a file system and the path inside it."""
    if "://" not in place:
        return fs.LocalFileSystem(), str(Path(place).expanduser().absolute())
    scheme = urlsplit(place).scheme
    if urlsplit(place).password is not None:
        raise StorageError(
            f"{scheme}://...: expected a place without a password, got one in the URI, where it "
            "would end up in logs. Give credentials in the environment or the store's own files."
        )
    try:
        filesystem, path = fs.FileSystem.from_uri(place)
    except (OSError, ValueError, NotImplementedError) as error:
        raise StorageError(
            f"{place}: expected a path or a URI that pyarrow can open (file://, s3://, gs://, "
            f"abfs://, hdfs://), got {type(error).__name__}: {_one_line(error)}"
        ) from error
    return filesystem, path.rstrip("/") or "/"


def _replace(path: Path, data: bytes) -> None:
    """Write beside the file, then move over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
