"""Where a folder is: a path or a URI, how pyarrow opens it, and what of it may be shown."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, unquote_plus, urlsplit

from pyarrow import fs

from fer_ray.record.text import error_text

_HIDDEN = "***"


class StorageError(ValueError):
    """A folder cannot be opened, read or written; the message says which, why and what to do."""


@dataclass(frozen=True, slots=True, repr=False)
class Uri:
    """A URI whose query may contain secrets, such as `?client_secret=...`.

    `str` gives the names of the options without their values, for messages and files.

    Attributes:
        base: Scheme, host and path, without a slash at the end.
        query: What follows the question mark; empty if nothing does.

    >>> str(Uri("abfs://faces@account/runs", "tenant_id=1&client_secret=2") / "best run")
    'abfs://faces@account/runs/best%20run?tenant_id=***&client_secret=***'
    """

    base: str
    query: str = ""

    def __truediv__(self, name: str) -> "Uri":
        return Uri(f"{self.base}/{quote(name)}", self.query) if name else self

    def __str__(self) -> str:
        parts = [part.partition("=") for part in self.query.split("&") if part]
        shown = [f"{name}={_HIDDEN}" if sign else _HIDDEN for name, sign, _ in parts]
        return f"{self.base}?{'&'.join(shown)}" if shown else self.base

    def __repr__(self) -> str:
        return f"Uri({str(self)!r})"

    def with_values(self) -> str:
        """The URI as it opens the place; never print, log or write it."""
        return f"{self.base}?{self.query}" if self.query else self.base

    def hide_values(self, text: str) -> str:
        """A text, such as an error of a store, without the values of the query.

        >>> Uri("http://store/runs", "sig=a%2Fb").hide_values("http://store/runs?sig=a/b: refused")
        'http://store/runs?sig=***: refused'
        """
        values: set[str] = set()
        for part in self.query.split("&"):
            name, sign, value = part.partition("=")
            given = value if sign else name
            decoded = {unquote(given), unquote_plus(given)}
            values |= {given, *decoded, *(quote(item, safe="") for item in decoded)}
        for value in sorted(values - {""}, key=len, reverse=True):  # one may be part of another
            text = text.replace(value, _HIDDEN)
        return text


def open_place(place: str) -> tuple[fs.FileSystem, str, Uri | None]:
    """Open a path or URI without creating, reading or writing anything.

    Args:
        place: A path (`~` is the home directory) or a URI.

    Returns:
        The file system, the path inside it, and the URI; `None` for a path of this machine.

    Raises:
        StorageError: The URI is not understood, or it contains a password.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return fs.LocalFileSystem(), str(Path(place).expanduser().absolute()), None
    if _has_password(place):
        raise StorageError(
            f"{scheme}://...: expected scheme://host[:port]/path without a password, got a URI "
            "with a password or with something else than a number as port (not shown here). Give "
            "credentials in the environment or in the store's own files."
        )
    base, _, query = rest.partition("?")
    if "#" in rest:
        raise StorageError(
            f"{scheme}://{base.partition('#')[0]}: expected a URI without a fragment, got one with "
            "a '#'. Write the character as %23."
        )
    uri = Uri(f"{scheme}://{base.rstrip('/')}", query)
    try:
        filesystem, path = fs.FileSystem.from_uri(place)
    except (OSError, ValueError, NotImplementedError) as error:
        raise StorageError(
            f"{uri}: expected a path or a URI that pyarrow can open (file://, s3://, gs://, "
            f"abfs://, hdfs://), got {uri.hide_values(error_text(error))}"
        ) from None
    is_local = isinstance(filesystem, fs.LocalFileSystem)
    return filesystem, path.rstrip("/") or "/", None if is_local else uri


def _has_password(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:  # no port after the colon: a password up to its first slash
        return True
    return parts.password is not None
