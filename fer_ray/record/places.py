"""Where a folder is: a path or a URI, how pyarrow opens it, and what of it may be shown."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pyarrow import fs

from fer_ray.core.errors import ConfigError
from fer_ray.core.secrets import check_no_secrets
from fer_ray.record.text import error_text


class StorageError(ValueError):
    """A folder cannot be opened, read or written; the message says which, why and what to do."""


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI of a folder in a store. It holds no secret: `open_place` refuses those.

    Attributes:
        base: Scheme, host and path, without a slash at the end.
        query: What follows the question mark; empty if nothing does.

    >>> str(Uri("s3://faces/runs", "region=eu-north-1") / "best run")
    's3://faces/runs/best%20run?region=eu-north-1'
    """

    base: str
    query: str = ""

    def __truediv__(self, name: str) -> "Uri":
        return Uri(f"{self.base}/{quote(name)}", self.query) if name else self

    def __str__(self) -> str:
        return f"{self.base}?{self.query}" if self.query else self.base


def open_place(place: str) -> tuple[fs.FileSystem, str, Uri | None]:
    """Open a path or URI without creating, reading or writing anything.

    Args:
        place: A path (`~` is the home directory) or a URI.

    Returns:
        The file system, the path inside it, and the URI; `None` for a path of this machine.

    Raises:
        StorageError: The URI is not understood, or it holds a secret.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return fs.LocalFileSystem(), str(Path(place).expanduser().absolute()), None
    try:
        check_no_secrets(place, "a folder in a store")
    except ConfigError as error:
        raise StorageError(str(error)) from None
    base, _, query = rest.partition("?")
    if "#" in rest:
        raise StorageError(
            f"{scheme}://{base.partition('#')[0]}: expected a URI without a fragment, got one with "
            "a '#'. Write the character as %23."
        )
    if scheme in ("abfs", "abfss"):
        base = _azure(scheme, base)
    uri = Uri(f"{scheme}://{base.rstrip('/')}", query)
    try:
        filesystem, path = fs.FileSystem.from_uri(str(Uri(f"{scheme}://{base}", query)))
    except (OSError, ValueError, NotImplementedError) as error:
        raise StorageError(
            f"{uri}: expected a path or a URI that pyarrow can open (file://, s3://, gs://, "
            f"abfs://, hdfs://), got {error_text(error)}"
        ) from None
    is_local = isinstance(filesystem, fs.LocalFileSystem)
    return filesystem, path.rstrip("/") or "/", None if is_local else uri


def _azure(scheme: str, base: str) -> str:
    """Host and path of a place in Azure, with the host in full.

    Everybody writes `container@account`; pyarrow knows `container@account.dfs.core.windows.net`,
    and takes what is before the @ for the account where no dot is behind it.

    >>> _azure("abfs", "faces@account/runs")
    'faces@account.dfs.core.windows.net/runs'
    """
    host, slash, path = base.partition("/")
    container, at, account = host.partition("@")
    if not at and "." not in host:
        raise StorageError(
            f"{scheme}://{base}: expected {scheme}://container@account/path, got no account. "
            "Example: abfs://runs@myaccount/fer_ray."
        )
    if at and "." not in account and ":" not in account:
        host = f"{container}@{account}.dfs.core.windows.net"
    return f"{host}{slash}{path}"
