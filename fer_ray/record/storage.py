"""A folder on this machine or in an object store, with the operations that a run needs."""

import os
import secrets
from pathlib import Path

from pyarrow import fs

from fer_ray.record.places import StorageError, open_place
from fer_ray.record.text import error_text

_TEMPORARY = ".part"


class Folder:
    """A folder given as a local path or as a URI that `pyarrow.fs` understands.

    Names are relative to the folder and may contain slashes. Nothing is created before the first
    write.

    A URI may have options (`?region=...`), but no secret: credentials come from the environment.

    >>> str(Folder("file:///data") / "runs")
    '/data/runs'
    >>> str(Folder("s3://data?region=eu-north-1") / "runs")
    's3://data/runs?region=eu-north-1'
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        """Open a folder without creating, reading or writing anything.

        Args:
            place: A path (`~` is the home directory) or a URI such as `s3://bucket/runs`.

        Raises:
            StorageError: The URI is not understood, or it holds a secret.
        """
        self._filesystem, self._path, self._uri = open_place(os.fspath(place))

    def __truediv__(self, name: str) -> "Folder":
        child = object.__new__(type(self))  # `copy` would open the file system again
        child._filesystem, child._path = self._filesystem, self._at(name)
        child._uri = self._uri and self._uri / name
        return child

    def __str__(self) -> str:
        return str(self._uri or self._path)

    def __repr__(self) -> str:
        return f"Folder({str(self)!r})"

    def __reduce__(self) -> tuple[type["Folder"], tuple[str]]:
        return type(self), (str(self),)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._path.rsplit("/", 1)[-1]

    @property
    def path(self) -> str:
        """The path inside `filesystem`, without scheme and options."""
        return self._path

    @property
    def filesystem(self) -> fs.FileSystem:
        """The file system with its options, for libraries that take one together with `path`."""
        return self._filesystem

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
            raise StorageError(f"{self}: expected a directory of this machine, got a remote folder")
        return Path(self._path)

    def make(self) -> "Folder":
        """Create the folder and its parents where they are missing; returns itself."""
        self._filesystem.create_dir(self._path, recursive=True)
        return self

    def exists(self, name: str = "") -> bool:
        """Whether a file or folder of that name exists; without a name, the folder itself."""
        return bool(self._info(name).type != fs.FileType.NotFound)

    def names(self) -> list[str]:
        """Files and folders directly inside, sorted; empty if the folder is missing."""
        selector = fs.FileSelector(self._path, allow_not_found=True)
        children = [info.base_name for info in self._filesystem.get_file_info(selector)]
        return sorted(name for name in children if not name.endswith(_TEMPORARY))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file as a whole: a reader sees the old content or the new, never a part."""
        path = self._at(name)
        if self.is_local:
            _replace(Path(path), data)
            return
        try:
            self._upload(path, data)
        except FileNotFoundError:  # stores with real directories need them first
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
        """Delete a file, or a folder with everything in it; nothing happens if it is missing."""
        kind = self._info(name).type
        if kind == fs.FileType.Directory:
            self._filesystem.delete_dir(self._at(name))
        elif kind != fs.FileType.NotFound:
            self._filesystem.delete_file(self._at(name))

    def copy_tree_from(self, local: str | os.PathLike[str]) -> None:
        """Copy everything inside a local directory into this folder; files are overwritten."""
        source = str(Path(local).absolute())
        fs.copy_files(
            source,
            self.make().path,
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=self._filesystem,
        )

    def copy_from(self, other: "Folder", name: str) -> None:
        """Copy a file from another folder of the same file system, which does so by itself."""
        self.make()._filesystem.copy_file(other._at(name), self._at(name))

    def download(self, name: str, local: str | os.PathLike[str]) -> Path:
        """Copy a file or a tree from this folder to a local path.

        Args:
            name: A file or a folder in this folder.
            local: Path of the copy: of the file, or of the directory that becomes the tree.

        Returns:
            The local path.

        Raises:
            FileNotFoundError: There is no file or folder of that name.
        """
        target = Path(local).absolute()
        info = self._info(name)
        if info.type == fs.FileType.NotFound:
            raise FileNotFoundError(f"{self / name}: no such file or folder")
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
            StorageError: The folder cannot be created or written.
        """
        probe = f"probe-{secrets.token_hex(4)}"
        try:
            self.make().write_bytes(probe, b"")
            self.delete(probe)
        except (OSError, ValueError, NotImplementedError) as error:
            raise StorageError(
                f"{self}: expected a folder that can be written, got "
                f"{error_text(error)}. Choose another --storage, or grant write access to this one "
                "(an object store also needs credentials in the environment)."
            ) from error

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}" if name else self._path

    def _info(self, name: str) -> fs.FileInfo:
        return self._filesystem.get_file_info(self._at(name))

    def _upload(self, path: str, data: bytes) -> None:
        with self._filesystem.open_output_stream(path) as stream:
            stream.write(data)


def _replace(path: Path, data: bytes) -> None:
    """Write a file next to it, then move that over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
