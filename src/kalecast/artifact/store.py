"""Model URIs: where a model file is published to and fetched from.

A model URI is a path, a `file:` URI or an `s3:` URI. Publishing writes the file twice: under
its version, to be able to go back, and as the current one, which servers fetch. Both writes
are atomic: a reader meanwhile gets the old file or the new one, whole. Once they return, the
file is on the disk, and so is its name in the folder: a power loss takes neither away. A version's
file is never overwritten with another model: of two publishers at once, one is refused. What is
published is signed where there is a key (`signing`).
"""

import contextlib
import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from kalecast.artifact.graph_check import LARGEST_MODEL
from kalecast.artifact.signing import keys_from, signed, unsigned
from kalecast.project import project_path

SAMPLE = "notebooks/data/electricity.csv"
MODELS = "models"
SUFFIX = ".onnx"
LARGEST_DATA = 512 * 2**20
"""Bytes of a data file that are fetched: in a step's memory it grows several times as large."""

DENIED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")
TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
MISSING = ("NoSuchKey", "NoSuchBucket", "404")

SERVED = "forecaster"
"""Name of the model that `make run` serves from a store."""


class StoreError(RuntimeError):
    """A model file could not be read from or written to its URI."""


class VersionTakenError(StoreError, ValueError):
    """The store has another model of that version; trying again changes nothing."""


def default_store(data: Path) -> Path:
    """Models of the sample lie in models/, those of other data in a folder of that content.

    The folder's name holds a digest of the file, so that a changed file, or another of the same
    name, is never served with a model of something else.

    Args:
        data: the file's absolute path.
    """
    store = project_path(MODELS)
    if data == project_path(SAMPLE):
        return store
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return store / f"{data.stem}-{digest[:8]}"


def publish(model_file: bytes, store: str, name: str, version: str) -> str:
    """Write a model file into a store under its version, and make it the current one.

    Args, raises: as for `keep`.

    Returns:
        The URI of the current file, `<store>/<name>.onnx`.
    """
    keep(model_file, store, name, version)
    return make_current(model_file, store, name)


def keep(model_file: bytes, store: str, name: str, version: str) -> str:
    """Write a model file into a store under its version. Servers of the current one go on with it.

    Args:
        model_file: the bytes of the file.
        store: URI of the folder.
        name: the file's stem.
        version: appended to the stem.

    Returns:
        The URI of the file, `<store>/<name>-<version>.onnx`.

    Raises:
        StoreError: the store cannot be written, the name is none, or the version is there
            already with other content.
        SignatureError: the key in the environment is none.
    """
    check_name(name)
    uri = _uri_in(store, version_uri(f"{name}{SUFFIX}", version))
    content = signed(model_file, keys_from())
    found = _found(uri)
    if found is None and _create(uri, content):
        return uri
    found = _found(uri) if found is None else found
    # Who goes back to a version must get what it was; the key may be another meanwhile.
    if found is None or unsigned(found) != unsigned(model_file):
        raise VersionTakenError(
            f"Expected a new version, but '{uri}' is there, with other content."
        )
    _write(uri, content)
    return uri


def make_current(model_file: bytes, store: str, name: str) -> str:
    """Have servers of a store's current model file serve this one.

    Returns:
        The URI of the current file, `<store>/<name>.onnx`.

    Raises:
        StoreError: the store cannot be written, or the name is none.
        SignatureError: the key in the environment is none.
    """
    check_name(name)
    uri = _uri_in(store, f"{name}{SUFFIX}")
    _write(uri, signed(model_file, keys_from()))
    return uri


def _is_s3(uri: str) -> bool:
    return urlsplit(uri).scheme == "s3"


def _uri_in(store: str, file_name: str) -> str:
    if _is_s3(store):
        return f"{store.rstrip('/')}/{file_name}"
    return str(_local_path(store) / file_name)


def _write(uri: str, content: bytes) -> None:
    if _is_s3(uri):
        with _s3(uri, "Could not write") as (client, place):
            client.put_object(**place, Body=content)
    else:
        _write_atomically(Path(uri), content)


def _create(uri: str, content: bytes) -> bool:
    """Write a file where there is none; whether this was so, to one alone of those who try."""
    if not _is_s3(uri):
        return _write_atomically(Path(uri), content, where_none=True)
    with _s3(uri, "Could not write") as (client, place):
        try:
            client.put_object(**place, Body=content, IfNoneMatch="*")
        except client.exceptions.ClientError as error:
            if _s3_code(error) in TAKEN:
                return False
            if _s3_code(error) != "NotImplemented":
                raise
            client.put_object(**place, Body=content)  # a server that knows no conditions
    return True


def _found(uri: str) -> bytes | None:
    """The content of a file, where there is one."""
    if not _is_s3(uri):
        try:
            return Path(uri).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"Could not look for the model file '{uri}': {error}") from error
    with _s3(uri, "Could not look for") as (client, place):
        try:
            client.head_object(**place)
        except client.exceptions.ClientError as error:
            # An account that may not list hears 403 of a key that is not there.
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (403, 404):
                return None
            raise
    return fetch(uri)


def check_name(name: str) -> None:
    """Raise a `StoreError` for a model's name that is not one name of a file."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise StoreError(
            "Expected a model name of letters, digits, '.', '_' and '-' such as 'shop-sales', "
            f"received: {name!r}."
        )


def version_uri(uri: str, version: str) -> str:
    """The URI of the copy that is kept of a version, beside the current file at `uri`."""
    return f"{uri.removesuffix(SUFFIX)}-{version}{SUFFIX}"


def fetch(uri: str) -> bytes:
    """The bytes of the model file at `uri`.

    Raises:
        StoreError: there is none, it cannot be read, is too large, or the scheme is not known.
    """
    # A byte more than it may have: enough to know, and no more is held.
    most = LARGEST_MODEL + 1
    if _is_s3(uri):
        with _s3(uri, "Expected a model file at") as (client, place):
            content: bytes = client.get_object(**place)["Body"].read(most)
    else:
        try:
            with _local_path(uri).open("rb") as file:
                content = file.read(most)
        except OSError as error:
            raise StoreError(f"Expected a model file at '{uri}', received: {error}") from error
    if len(content) > LARGEST_MODEL:
        raise StoreError(
            f"Expected a model file of at most {LARGEST_MODEL >> 20} MiB at '{uri}', received "
            "a larger one."
        )
    return content


def fetch_data(uri: str) -> bytes:
    """The bytes of the data file at an `s3:` URI.

    Raises:
        StoreError: there is none, it may not be read, or it is too large.
    """
    with _s3(uri, "Expected a data file at") as (client, place):
        answer = client.get_object(**place)
        size = int(answer["ContentLength"])
        content: bytes = answer["Body"].read() if size <= LARGEST_DATA else b""
    if size > LARGEST_DATA:
        raise StoreError(
            f"Expected a data file of at most {LARGEST_DATA >> 20} MiB, '{uri}' has "
            f"{-(-size >> 20)} MiB. Leave out old hours or columns, or write it as Parquet."
        )
    return content


def state(uri: str) -> str:
    """A text that changes whenever the model file at `uri` does; costs no reading of it.

    Raises:
        StoreError: as for `fetch`.
    """
    if _is_s3(uri):
        with _s3(uri, "Expected a model file at") as (client, place):
            return str(client.head_object(**place)["ETag"])
    try:
        found = _local_path(uri).stat()
    except OSError as error:
        raise StoreError(f"Expected a model file at '{uri}', received: {error}") from error
    return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"


def _local_path(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise StoreError(
                f"Expected a file: URI of this machine such as 'file:///models', received: '{uri}'"
            )
        return project_path(unquote(parts.path))
    if parts.scheme and len(parts.scheme) > 1:  # one letter is a drive, not a scheme
        raise StoreError(f"Expected a path, a file: or an s3: URI, received: '{uri}'")
    return project_path(uri)


def _write_atomically(path: Path, content: bytes, where_none: bool = False) -> bool:
    """Write a file; whether it was written, which it is not `where_none` is to be replaced."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, where_none) as file:
            file.write(content)
    except OSError as error:
        if where_none and isinstance(error, FileExistsError) and path.exists():
            return False
        raise StoreError(f"Could not write the model file '{path}': {error}") from error
    return True


@contextlib.contextmanager
def whole_file(path: Path, where_none: bool = False) -> Iterator[IO[bytes]]:
    """A file to be written that readers see whole or not at all.

    When the block has ended, the file and its name are on the disk; when it raises, all is as it
    was before.

    Args:
        path: of the file; its folder is there.
        where_none: do not replace a file that is there already.

    Raises:
        FileExistsError: there is one, and it is not to be replaced.
        OSError: it cannot be written, such as on a full disk.
    """
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    beside = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        if where_none:
            _claim(path, beside)
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _claim(path: Path, content: Path) -> None:
    """Take a name that is still free."""
    try:
        path.hardlink_to(content)
    except OSError as error:
        # Some network file systems know no links: there the name is taken first, empty.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        path.open("xb").close()


def sync_folder(folder: Path) -> None:
    """Have what was renamed in a folder on the disk, and the folder's own name in its parent's."""
    for each in (folder, folder.parent):
        # A parent that is another's to read is not new either.
        with contextlib.suppress(PermissionError):
            number = os.open(each, os.O_RDONLY)
            try:
                os.fsync(number)
            except OSError as error:
                if error.errno != errno.EINVAL:  # a file system that knows no such thing
                    raise
            finally:
                os.close(number)


@contextlib.contextmanager
def _s3(uri: str, failed: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """A client as the usual variables set it up (`AWS_ENDPOINT_URL` names another server), and
    bucket and key of a URI as its methods take them.

    Raises:
        StoreError: what the block does fails; begins with `failed`.
    """
    parts = urlsplit(uri)
    if not parts.netloc:
        raise StoreError(f"Expected an S3 URI such as 's3://bucket/models', received: '{uri}'")
    try:
        import boto3
    except ImportError as error:
        raise StoreError("An s3: URI needs the package 'boto3', which is not installed") from error
    try:
        yield boto3.client("s3"), {"Bucket": parts.netloc, "Key": parts.path.strip("/")}
    except Exception as error:  # botocore builds its error classes at run time
        raise StoreError(f"{failed} '{uri}': {_s3_reason(error)}.") from error


def _s3_code(error: Exception) -> str:
    code: str = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    return code


def _s3_reason(error: Exception) -> str:
    """What S3 or its client says, in a few words."""
    code = _s3_code(error)
    if code in MISSING:
        return f"there is none ({code})"
    if code in DENIED:
        return f"these keys do not open it ({code})"
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return "no keys are set: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return str(error).rstrip(".")
