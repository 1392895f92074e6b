"""`S3Store`: the store of ``s3://bucket/prefix`` roots, on AWS or anything that speaks its protocol.

s3fs lists and writes (with conditions), pyarrow reads: its reader retries a body that breaks off half-way.

Timeouts and retries, so that a dead server is an error and not a wait: 5 s to connect, 30 s without a byte, 5 attempts
with exponential backoff. `storage_options` may set ``connect_timeout_s``, ``read_timeout_s`` and ``max_attempts``.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import IO, Any, NoReturn, TypeVar, cast

from json2vec.errors import StoreError
from json2vec.storage.objects import ObjectStore
from json2vec.storage.store import Entry, Store

OPTIONS = {
    "key": "access key; default: the AWS chain (environment, profile, instance role)",
    "secret": "secret key",
    "token": "session token",
    "profile": "profile of the shared AWS configuration",
    "anon": "True reads without credentials",
    "endpoint_url": "address of a server that is not AWS; default: AWS_ENDPOINT_URL",
    "region": "default: AWS_REGION or us-east-1",
    "connect_timeout_s": "seconds to connect, default 5",
    "read_timeout_s": "seconds without a byte, default 30",
    "max_attempts": "attempts of one request, default 5",
}
"""What ``storage_options`` may hold."""

SECRET_OPTIONS = frozenset({"key", "secret", "token"})
"""Those of `OPTIONS` that must not be written down."""

PART_BYTES = 64 << 20
"""Files above this size are uploaded in parts of it, in bytes."""

_MAX_PARTS = 9_000  # S3 allows 10,000
_MAX_COPY_BYTES = 5 << 30  # S3's limit for one copy_object
_PRECONDITION_FAILED = (409, 412)
_POLARS_KEYS = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token"}


Pairs = tuple[tuple[str, Any], ...]
Content = TypeVar("Content")


class S3Store(ObjectStore):
    """Objects below one prefix of one bucket.

    Args:
        root: ``s3://bucket`` or ``s3://bucket/prefix``; keys are taken literally, never URL-quoted.
        storage_options: how to reach the server and who asks it; the keys are those of `OPTIONS`.

    Raises:
        StoreError: the root names no bucket, or an option is unknown.
    """

    def __init__(self, root: str, storage_options: dict[str, Any] | None = None) -> None:
        self.bucket, _, prefix = root.removeprefix("s3://").partition("/")
        if not self.bucket:
            raise StoreError(f"{root!r} names no bucket; expected s3://bucket/prefix")
        self.prefix = prefix.strip("/")
        self.root = f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"
        self._options = dict(storage_options or {})
        if unknown := sorted(set(self._options) - set(OPTIONS)):
            raise StoreError(
                f"{self.root}: unknown storage option {unknown[0]!r}; expected some of {', '.join(OPTIONS)}"
            )

    def __reduce__(self) -> tuple[type[S3Store], tuple[str, dict[str, Any]]]:
        return S3Store, (self.root, self._options)

    @property
    def _endpoint(self) -> str | None:
        return self._options.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL")

    @property
    def _region(self) -> str:
        return self._options.get("region") or os.environ.get("AWS_REGION") or "us-east-1"

    @property
    def _client(self) -> Any:
        """s3fs. Stores with the same options share one, and so its connections, within a process."""
        return _client(*self._identity())

    @property
    def _reader(self) -> Any:
        """pyarrow's file system, shared likewise."""
        return _reader(*self._identity())

    def _identity(self) -> tuple[Pairs, str | None, str, Pairs, int]:
        """All that a client is made of. Credentials may come from the environment, and no client survives a fork."""
        aws = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
        return tuple(sorted(self._options.items())), self._endpoint, self._region, aws, os.getpid()

    def uri(self, path: str = "") -> str:
        return f"{self.root}/{path}" if path else self.root

    def below(self, path: str) -> S3Store:
        self._key(path)  # refuses one that leaves the root
        return S3Store(self.uri(path), self._options)

    def above(self) -> S3Store | None:
        return S3Store(self.root.rpartition("/")[0], self._options) if self.prefix else None

    def _key(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise StoreError(f"path {path!r} leaves the root {self.root}: expected a relative path without '..'")
        return f"{self.prefix}/{path}" if self.prefix and path else self.prefix or path

    def _call(self, operation: str, path: str, **arguments: Any) -> Any:
        try:
            return self._client.call_s3(operation, Bucket=self.bucket, **arguments)
        except FileNotFoundError as exc:
            raise FileNotFoundError(f"{self.uri(path)} does not exist") from exc
        except (OSError, ValueError) as exc:
            self._raise(exc, operation, path)
        except Exception as exc:  # botocore's own tree: no credentials, no connection, parameters it refuses
            if type(exc).__module__.partition(".")[0] not in ("botocore", "aiobotocore", "aiohttp"):
                raise
            self._raise(exc, operation, path)

    def _raise(self, error: BaseException, operation: str, path: str) -> NoReturn:
        if _status(error) in _PRECONDITION_FAILED and operation == "put_object":
            raise FileExistsError(f"{self.uri(path)}: another writer was there first") from error
        remedy = (
            "check the credentials and what they may do"
            if isinstance(error, PermissionError) or "redential" in str(error)
            else "check the endpoint and try again"
        )
        raise StoreError(f"{operation} on {self.uri(path)} failed: {error}. Remedy: {remedy}") from error

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        below = self._key(prefix)
        arguments: dict[str, Any] = {"Prefix": f"{below}/"} if below else {}
        if after:
            arguments["StartAfter"] = self._key(after)
        skip = len(self.prefix) + 1 if self.prefix else 0
        while True:
            page = self._call("list_objects_v2", prefix, **arguments)
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):  # consoles make empty objects for folders
                    yield Entry(
                        item["Key"][skip:], item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp()
                    )
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def folders(self, prefix: str = "", *, links: bool = True) -> builtins.list[str]:
        below = self._key(prefix)
        arguments: dict[str, Any] = {"Prefix": f"{below}/" if below else "", "Delimiter": "/"}
        names: list[str] = []
        while True:
            page = self._call("list_objects_v2", prefix, **arguments)
            names += [folder["Prefix"].rstrip("/").rpartition("/")[2] for folder in page.get("CommonPrefixes", ())]
            if not page.get("IsTruncated"):
                return sorted(names)
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def stat(self, path: str) -> Entry:
        head = self._call("head_object", path, Key=self._key(path))
        return Entry(path, head["ContentLength"], head["ETag"].strip('"'), head["LastModified"].timestamp())

    def open(self, path: str) -> IO[bytes]:
        return cast("IO[bytes]", self._read(path, lambda name: self._reader.open_input_file(name)))

    def read(self, path: str) -> bytes:
        def whole(name: str) -> bytes:
            with self._reader.open_input_file(name) as file:
                return file.readall()

        def patiently(name: str) -> bytes:
            try:
                return whole(name)
            except (FileNotFoundError, PermissionError):
                raise
            except OSError:  # the client does not ask again where the body of the reply broke off
                return whole(name)

        return self._read(path, patiently)

    def _read(self, path: str, action: Callable[[str], Content]) -> Content:
        try:
            return action(f"{self.bucket}/{self._key(path)}")
        except FileNotFoundError as exc:
            raise FileNotFoundError(f"{self.uri(path)} does not exist") from exc
        except OSError as exc:
            self._raise(exc, "read", path)

    def write(self, path: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        conditions: dict[str, Any] = {}
        if if_absent:
            conditions["IfNoneMatch"] = "*"
        elif if_version is not None:
            conditions["IfMatch"] = f'"{if_version}"'
        try:
            put = self._call(
                "put_object", path, Key=self._key(path), Body=data, ChecksumAlgorithm="SHA256", **conditions
            )
        except FileExistsError:
            # A retry may meet our own object: the reply to the first attempt got lost.
            if self.read(path) != data:
                raise
            return self.stat(path).version
        return put["ETag"].strip('"')

    def upload(self, local: str | os.PathLike[str], path: str, *, sha256: str) -> None:
        size, key = os.path.getsize(local), self._key(path)
        with open(local, "rb") as file:
            if size <= PART_BYTES:
                checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
                self._call("put_object", path, Key=key, Body=file.read(), ChecksumSHA256=checksum)
            else:
                self._upload_parts(file, size, path, key, sha256)
        os.unlink(local)

    def _upload_parts(self, file: IO[bytes], size: int, path: str, key: str, sha256: str) -> None:
        """A multipart upload, each part with its own SHA-256: the object appears whole when it is completed."""
        whole = hashlib.sha256()
        part_bytes = max(PART_BYTES, -(-size // _MAX_PARTS))
        upload = self._call("create_multipart_upload", path, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
        parts: list[dict[str, object]] = []
        try:
            while body := file.read(part_bytes):
                whole.update(body)
                checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
                number = len(parts) + 1
                part = self._call(
                    "upload_part", path, Key=key, UploadId=upload, PartNumber=number, Body=body, ChecksumSHA256=checksum
                )
                parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": checksum})
            if whole.hexdigest() != sha256:
                raise StoreError(f"{file.name} changed on its way to {self.uri(path)}. Remedy: predict again")
            self._call(
                "complete_multipart_upload", path, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            with contextlib.suppress(StoreError, FileNotFoundError):  # what is left costs money, but harms nothing
                self._call("abort_multipart_upload", path, Key=key, UploadId=upload)
            raise

    def copy(self, source: Store, source_path: str, path: str) -> None:
        here = isinstance(source, S3Store) and source._endpoint == self._endpoint
        if here and source.stat(source_path).size <= _MAX_COPY_BYTES:
            assert isinstance(source, S3Store)
            origin = {"Bucket": source.bucket, "Key": source._key(source_path)}
            self._call("copy_object", path, Key=self._key(path), CopySource=origin)
            return
        with tempfile.TemporaryDirectory(prefix="j2v-copy-") as folder:
            local, sha = os.path.join(folder, "file"), hashlib.sha256()
            with source.open(source_path) as read, open(local, "wb") as file:
                while block := read.read(1 << 20):
                    sha.update(block)
                    file.write(block)
            self.upload(local, path, sha256=sha.hexdigest())

    def delete(self, *paths: str) -> None:
        for path in paths:
            self._call("delete_object", path, Key=self._key(path))

    def now(self) -> float:
        reply = self._call("list_objects_v2", "", MaxKeys=1, Prefix=self.prefix)
        date = reply["ResponseMetadata"]["HTTPHeaders"]["date"]
        return parsedate_to_datetime(date).timestamp()

    def polars_options(self) -> dict[str, Any]:
        options = self._options
        translated: dict[str, Any] = {"aws_region": self._region, "max_retries": int(options.get("max_attempts", 5))}
        if self._endpoint:
            translated["aws_endpoint_url"] = self._endpoint
            translated["aws_allow_http"] = str(self._endpoint.startswith("http://")).lower()
        if options.get("anon"):
            translated["aws_skip_signature"] = "true"
        for ours, theirs in _POLARS_KEYS.items():
            if options.get(ours):
                translated[theirs] = options[ours]
        return translated


@lru_cache(maxsize=16)
def _client(options: Pairs, endpoint: str | None, region: str, environment: Pairs, process: int) -> Any:
    import s3fs  # pyright: ignore[reportMissingTypeStubs] - it has no types

    settings = dict(options)
    attempts = {"max_attempts": int(settings.get("max_attempts", 5)), "mode": "standard"}
    return s3fs.S3FileSystem(
        key=settings.get("key"), secret=settings.get("secret"), token=settings.get("token"),
        profile=settings.get("profile"), anon=bool(settings.get("anon", False)), endpoint_url=endpoint,
        client_kwargs={"region_name": region},
        config_kwargs={
            "connect_timeout": settings.get("connect_timeout_s", 5),
            "read_timeout": settings.get("read_timeout_s", 30),
            "retries": attempts,
        },
        skip_instance_cache=True,
    )  # fmt: skip


@lru_cache(maxsize=16)
def _reader(options: Pairs, endpoint: str | None, region: str, environment: Pairs, process: int) -> Any:
    from pyarrow import fs  # pyright: ignore[reportMissingTypeStubs] - it has no types

    filesystems: Any = fs

    settings = dict(options)
    credentials: dict[str, Any] = {}
    if settings.get("key"):
        credentials = {"access_key": settings["key"], "secret_key": settings.get("secret")}
        credentials |= {"session_token": settings["token"]} if settings.get("token") else {}
    elif settings.get("anon"):
        credentials = {"anonymous": True}
    elif settings.get("profile"):
        session = _client(options, endpoint, region, environment, process).session
        keys = session.get_session().get_credentials() if session else None
        credentials = {"access_key": keys.access_key, "secret_key": keys.secret_key} if keys else {}
    return filesystems.S3FileSystem(
        region=region, endpoint_override=endpoint, connect_timeout=settings.get("connect_timeout_s", 5),
        request_timeout=settings.get("read_timeout_s", 30),
        retry_strategy=filesystems.AwsStandardS3RetryStrategy(max_attempts=int(settings.get("max_attempts", 5))),
        **credentials,
    )  # fmt: skip


def _status(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, as far as one is recorded."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):
            return cast("dict[str, Any]", response).get("ResponseMetadata", {}).get("HTTPStatusCode")
        error = error.__cause__
    return None
