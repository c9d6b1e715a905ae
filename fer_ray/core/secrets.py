"""Refuses URIs that hold a secret, before anything prints or stores them."""

import re
from urllib.parse import unquote, urlsplit

from fer_ray.core.errors import ConfigError

_URI = re.compile(r"[A-Za-z][\w+.-]*://.*", re.DOTALL)
_OPTION = re.compile(r",(?=\w+=)")  # what separates the options of a data spec
_STORES = ("file", "mock", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
# Options of pyarrow's stores that say where and how, and prove nothing.
OPEN_OPTIONS = (
    "allow_bucket_creation",
    "allow_bucket_deletion",
    "background_writes",
    "blob_storage_authority",
    "buffer_size",
    "check_directory_existence_before_creation",
    "credential_kind",
    "default_block_size",
    "dfs_storage_authority",
    "enable_tls",
    "endpoint_override",
    "force_virtual_addressing",
    "project_id",
    "region",
    "replication",
    "retry_limit_seconds",
    "scheme",
    "smart_defaults",
    "tls_ca_file_path",
    "user",
)
# Elsewhere, such as in the link of a description, an option is open unless its name says otherwise.
_SECRET_NAME = re.compile("secret|token|key|sig|passw|cred|auth", re.IGNORECASE)
_REMEDY = (
    "Give credentials in the environment or in the store's own files; clusters/README.md says which"
)


def check_no_secrets(text: str, place: str) -> None:
    """Refuse a word if a URI in it holds a secret, or what may be one.

    That is a password; a user name, except where it is no part of a key (`abfs://container@...`,
    `hdfs://user@...`, `gs://anonymous@...`); and an option of a store that is not one of
    `OPEN_OPTIONS`.

    Args:
        text: A word of the command line, or a value, such as a data spec.
        place: Where it is from, for the message.

    Raises:
        ConfigError: With the kind of the secret, but neither the secret nor anything near it.

    >>> check_no_secrets("folder:s3://faces/raf?region=eu-north-1", "--data")
    >>> check_no_secrets("s3://me:hunter2@faces/raf", "--data")
    Traceback (most recent call last):
    fer_ray.core.errors.ConfigError: --data: expected URIs without secrets, got one of s3:// with \
a password, which is not shown. Give credentials in the environment or in the store's own files; \
clusters/README.md says which
    """
    for uri in map(_URI.search, _OPTION.split(text)):
        found = uri and secret_of(uri[0])
        if uri and found:
            scheme = uri[0].partition("://")[0]
            raise ConfigError(
                f"{place}: expected URIs without secrets, got one of {scheme}:// with {found}, "
                f"which is not shown. {_REMEDY}"
            )


def secret_of(uri: str) -> str | None:
    """What a URI holds that may be secret, in words; `None` if there is nothing.

    >>> secret_of("abfs://faces@account/raf?client_secret=hunter2")
    'the option client_secret'
    """
    scheme = uri.partition("://")[0].lower()
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:  # no number after the colon: a password up to its first slash
        return "a password, or something else than a number as port"
    # Up to its first slash, a password may look like a port.
    rest = f"{parts.path}?{parts.query}#{parts.fragment}"
    if parts.password is not None or (":" in parts.netloc and "@" in rest):
        return "a password"
    if parts.username is not None and not _is_open_user(scheme, parts.username):
        return "a user name"
    for option in re.split("[&;]", parts.query):
        name, sign, value = option.partition("=")
        if option and not _is_open(scheme, name if sign else "", unquote(value)):
            return f"the option {name}" if sign and re.fullmatch(r"\w{1,40}", name) else "an option"
    return None


def _is_open_user(scheme: str, user: str | None) -> bool:
    return scheme in ("abfs", "abfss", "hdfs", "viewfs") or user == "anonymous"


def _is_open(scheme: str, name: str, value: str) -> bool:
    if scheme in _STORES:
        return name in OPEN_OPTIONS and "@" not in value
    return not _SECRET_NAME.search(name)
