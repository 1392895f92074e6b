"""Certificates: one small JSON that binds every prediction of a folder to its input row, model and manifest.

The exact hashing: docs/certificates.md. Nothing here needs torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from json2vec.errors import IncompletePredictions, VerificationFailed
from json2vec.rank_files.commit import file_problem
from json2vec.rank_files.manifest import MANIFEST_NAME, Manifest, read_manifest
from json2vec.rank_files.reader import check_files, read_snapshot, row_batches
from json2vec.reading.row_hash import ROW_HASH, row_hash
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store
from json2vec.verify.merkle import LEAF, MerkleTree, leaf_hashes, path_ranges, root_of_path
from json2vec.verify.row_json import row_from_json, row_to_json, type_from_json, type_to_json

CERTIFICATE_NAME = "_certificate.json"
Document = TypeVar("Document", bound=BaseModel)
_RECORD = np.dtype([("tag", "S1"), ("file", "V32"), ("row", "<i8"), ("part", "<i4"), ("parts", "<i4"),
                    ("inputs", "<u8"), ("predictions", "<u8")])  # fmt: skip


class Certificate(BaseModel):
    """What `certify` writes.

    Attributes:
        row_hash: name of the algorithm that hashes input rows, as in the manifest.
        root: root (hex) of the Merkle tree over all output rows.
        rows: number of output rows, which are the leaves of the tree.
        input_rows: number of input rows, as in the manifest.
        rejected_rows: number of input rows that gave no output row, as in the manifest.
        attempt: the id of the attempt, as in the manifest.
        manifest: SHA-256 (hex) of the bytes of ``_manifest.json``, which names the SHA-256 of every file.
        model: fingerprint (hex) of the model, as in the manifest.
        snapshot: digest (hex) of the input.
        schema_digest: digest (hex) of the files' schema, as in the manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)

    format: Literal[1] = 1
    kind: Literal["json2vec.certificate"] = "json2vec.certificate"
    tree: Literal["rfc6962-sha256"] = "rfc6962-sha256"
    row_hash: str
    root: str
    rows: int
    input_rows: int
    rejected_rows: int
    attempt: str
    manifest: str
    model: str
    snapshot: str
    schema_digest: str

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Certificate:
        """The certificate in a local file.

        Raises:
            VerificationFailed: the file is no certificate.
        """
        return _read(cls, path)

    def dumps(self) -> bytes:
        return _canonical(self)


class Proof(BaseModel):
    """One row with its audit path: with a certificate, enough to check the row without the folder.

    Attributes:
        index: the row's number in the tree, from 0.
        path: hashes (hex) from the leaf upward.
        source: file, row, part, parts and hash of the row.
        predictions: the row's predictions as plain values, from `json2vec.verify.row_json.row_to_json`.
        predictions_type: their Arrow type, as base64 of an IPC schema.
        inputs: the row's inputs as plain values; None where the folder does not keep all of them.
        inputs_type: their Arrow type, as base64 of an IPC schema; None likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    kind: Literal["json2vec.proof"] = "json2vec.proof"
    index: int
    path: list[str]
    source: dict[str, Any]
    predictions: dict[str, Any]
    predictions_type: str
    inputs: dict[str, Any] | None = None
    inputs_type: str | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Proof:
        """The proof in a local file.

        Raises:
            VerificationFailed: the file is no proof.
        """
        return _read(cls, path)

    def dumps(self) -> bytes:
        return _canonical(self)


@dataclass(frozen=True)
class RowName:
    """Names one output row.

    Attributes:
        file: the input file, relative to the root of the inputs.
        row: number of the row in that file, from 0.
        part: which of the rows that a preprocessor made of it, from 0.
    """

    file: str
    row: int
    part: int = 0

    def __str__(self) -> str:
        return f"{self.file} row {self.row}" + (f" part {self.part}" if self.part else "")


def certify(
    path: str | os.PathLike[str] | Store,
    *,
    row: RowName | None = None,
    storage_options: dict[str, Any] | None = None,
) -> tuple[Certificate, Proof | None]:
    """The certificate of a committed folder, and the proof of one of its rows if ``row`` is given.

    Reads every file once, in memory that does not depend on the number of rows.

    Args:
        path: the folder, local or in an object store.
        row: the output row to be proven.
        storage_options: options for the object store's client; unused for local folders.

    Raises:
        IncompletePredictions: the folder is not complete, or a file is not the manifest's.
        VerificationFailed: ``row`` is not among the output rows.
    """
    folder = _Folder(open_store(path, storage_options))
    index = None if row is None else folder.find(row)
    ranges = [] if index is None else path_ranges(index, folder.manifest.rows)
    tree, subtrees = MerkleTree(), [MerkleTree() for _ in ranges]
    proof: dict[str, Any] = {}
    for batch in folder.batches():
        leaves, first = _leaves(batch), tree.rows
        tree.add(leaves)
        for (start, stop), subtree in zip(ranges, subtrees, strict=True):
            subtree.add(leaves[max(start - first, 0) : max(stop - first, 0)])
        if index is not None and first <= index < tree.rows:
            proof = folder.row_values(batch, index - first)
    certificate = folder.certificate(tree.root())
    if index is None:
        return certificate, None
    return certificate, Proof(index=index, path=[subtree.root().hex() for subtree in subtrees], **proof)


def check_certificate(
    certificate: Certificate,
    path: str | os.PathLike[str] | Store,
    *,
    row: RowName | None = None,
    storage_options: dict[str, Any] | None = None,
) -> list[str]:
    """What differs between a folder and its certificate, a sentence each; nothing where all of it holds.

    Args:
        certificate: what `certify` made of the folder before.
        path: the folder, local or in an object store.
        row: an output row whose way to the root is checked too, for its own message.
        storage_options: options for the object store's client; unused for local folders.

    Raises:
        IncompletePredictions: the folder is not complete, or a file is not the manifest's.
        VerificationFailed: ``row`` is not among the output rows.
    """
    now, proof = certify(path, row=row, storage_options=storage_options)
    problems = []
    for name, expected in certificate.model_dump().items():
        if (actual := getattr(now, name)) != expected:
            problems.append(f"{name} is {_short(actual)}, the certificate says {_short(expected)}")
    if proof is not None:
        problems += [f"{row}: {why}" for why in check_proof(certificate, proof)]
    return problems


def check_proof(certificate: Certificate, proof: Proof, row: Mapping[str, Any] | None = None) -> list[str]:
    """Whether one row is the one that the certificate covers; needs no folder.

    Args:
        certificate: the certificate of the folder that the row is said to be of.
        proof: the row with its audit path.
        row: plain values ``source`` and ``predictions``, and perhaps ``inputs``, to check instead of the proof's own.

    Returns:
        what does not hold, a sentence each; nothing where all of it holds.
    """
    values = {**proof.model_dump(include={"source", "predictions", "inputs"}), **(row or {})}
    try:
        source = {name: values["source"][name] for name in ("file", "row", "part", "parts", "hash")}
        predictions = _as_batch(values["predictions"], type_from_json(proof.predictions_type), "predictions")
        inputs = None
        if values["inputs"] is not None and proof.inputs_type is not None:
            inputs = _as_batch(values["inputs"], type_from_json(proof.inputs_type), "inputs")
        record = np.zeros(1, _RECORD)
        _fill(record, [source["file"]], **{name: np.array([source[name]]) for name in ("row", "part", "parts")},
              inputs=np.array([source["hash"]], np.uint64), predictions=row_hash(predictions))  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError, pa.ArrowException) as exc:
        return [f"the row is not one of this folder's type: {exc}"]
    problems = []
    if certificate.row_hash != ROW_HASH:
        problems.append(f"the certificate uses {certificate.row_hash!r}, this version computes {ROW_HASH!r}")
    if inputs is not None and int(row_hash(_children(inputs))[0]) != source["hash"]:
        problems.append("the inputs do not have the hash in source.hash: another input row, or changed values")
    leaf = leaf_hashes(memoryview(record.tobytes()), _RECORD.itemsize)[0]
    try:
        path = [bytes.fromhex(digest) for digest in proof.path]
    except ValueError:
        path = []
    root = root_of_path(leaf, proof.index, certificate.rows, path)
    if root is None:
        problems.append(
            f"the audit path has {len(proof.path)} hashes, which row {proof.index} of {certificate.rows} has not"
        )
    elif root.hex() != certificate.root:
        problems.append(
            f"the row leads to the root {root.hex()[:16]}..., the certificate has {certificate.root[:16]}...: file, "
            "row, input hash or a predicted value differs from what was certified"
        )
    return problems


class _Folder:
    """A committed folder whose files are the manifest's."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.manifest: Manifest = read_manifest(store)
        check_files(store, self.manifest)
        self.snapshot = read_snapshot(store, self.manifest)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in the order of the manifest, once every file's bytes are known to be the manifest's."""
        for file in (*self.manifest.files, *self.manifest.rejected):
            with self.store.open(file.path) as handle:
                digest = sha256()
                while block := handle.read(1 << 20):
                    digest.update(block)
            actual = digest.hexdigest()
            why = f"has SHA-256 {actual[:12]}..., expected {file.sha256[:12]}..." if actual != file.sha256 else None
            if why := why or file_problem(self.store, file, self.manifest):
                raise IncompletePredictions(
                    f"{self.store.uri(file.path)} (rank {file.rank}) {why}. Remedy: restore the file, or predict again",
                    ranks=[file.rank],
                )
        for file in self.manifest.files:
            with self.store.open(file.path) as handle:
                yield from row_batches(pq.ParquetFile(handle))

    def certificate(self, root: bytes) -> Certificate:
        manifest = self.manifest
        return Certificate(
            row_hash=manifest.row_hash, root=root.hex(), rows=manifest.rows, input_rows=manifest.input_rows,
            rejected_rows=manifest.rejected_rows, attempt=manifest.attempt, model=manifest.model,
            schema_digest=manifest.schema_digest, manifest=sha256(self.store.read(MANIFEST_NAME)).hexdigest(),
            snapshot=self.snapshot.digest,
        )  # fmt: skip

    def find(self, row: RowName) -> int:
        """The number of an output row, counted over the files in the manifest's order."""
        first = 0
        for file in self.manifest.files:
            with self.store.open(file.path) as handle:
                parquet = pq.ParquetFile(handle)
                at = first
                for batch in row_batches(parquet, columns=["source"]):
                    source = batch.column("source")
                    numbers, parts = (source.field(name).to_numpy() for name in ("row", "part"))
                    for index in np.flatnonzero((numbers == row.row) & (parts == row.part)):
                        if source.field("file")[int(index)].as_py() == row.file:
                            return at + int(index)
                    at += batch.num_rows
            first += file.rows
        raise VerificationFailed(
            f"{row} is not among the {self.manifest.rows} output rows of {self.store.uri()}. Remedy: check the file's "
            "path relative to the inputs' root; j2v-dagster explain tells whether the row was rejected"
        )

    def row_values(self, batch: pa.RecordBatch, index: int) -> dict[str, Any]:
        """What a `Proof` says of a row, besides its place in the tree."""
        values: dict[str, Any] = {
            "source": row_to_json(batch.column("source")[index]),
            "predictions": row_to_json(batch.column("predictions")[index]),
            "predictions_type": type_to_json(batch.schema.field("predictions").type),
        }
        if "inputs" in batch.schema.names:
            inputs_type = batch.schema.field("inputs").type
            if [field.name for field in inputs_type] == self.snapshot.schema.names:
                values["inputs"] = row_to_json(batch.column("inputs")[index])
                values["inputs_type"] = type_to_json(inputs_type)
        return values


def _leaves(batch: pa.RecordBatch) -> list[bytes]:
    source = batch.column("source")
    records = np.zeros(batch.num_rows, _RECORD)
    encoded = source.field("file").dictionary_encode()
    names = encoded.dictionary.to_pylist()
    digests = np.frombuffer(b"".join(sha256(name.encode()).digest() for name in names), "V32")
    numbers = {name: source.field(name).to_numpy() for name in ("row", "part", "parts")}
    predictions = row_hash(batch.select(["predictions"]))
    _fill(records, None, inputs=source.field("hash").to_numpy(), predictions=predictions, **numbers)
    if len(names):
        records["file"] = digests[encoded.indices.to_numpy()]
    return leaf_hashes(memoryview(records.tobytes()), _RECORD.itemsize)


def _fill(records: np.ndarray, files: list[str] | None, **columns: np.ndarray) -> None:
    # A null byte at the end of a fixed-size "S" field reads back as nothing, but is written all the same.
    records["tag"] = LEAF
    if files is not None:
        records["file"] = np.frombuffer(b"".join(sha256(name.encode()).digest() for name in files), "V32")
    for name, values in columns.items():
        records[name] = values


def _as_batch(value: Any, arrow_type: pa.DataType, name: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([row_from_json(value, arrow_type)], arrow_type)], names=[name])


def _children(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_struct_array(batch.column(0))


def _read(document_type: type[Document], path: str | os.PathLike[str]) -> Document:
    name = document_type.__name__.lower()
    try:
        with open(path, "rb") as file:
            return document_type.model_validate_json(file.read())
    except OSError as exc:
        raise VerificationFailed(f"cannot read the {name} {path}: {exc.strerror}. Remedy: check the path") from exc
    except ValidationError as exc:
        problem = exc.errors()[0]
        raise VerificationFailed(
            f"{path} is no {name} of format 1: {'.'.join(map(str, problem['loc']))}: {problem['msg']}. "
            "Remedy: pass a file that `j2v-dagster certify` wrote"
        ) from exc


def _canonical(document: BaseModel) -> bytes:
    return json.dumps(document.model_dump(), sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:16] + "..."
