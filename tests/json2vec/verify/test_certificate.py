"""Certificates: an intact folder holds, a changed one does not, and a row is proven alone."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rfc6962 import rfc6962

from json2vec.errors import IncompletePredictions, VerificationFailed
from json2vec.reading.row_hash import row_hash
from json2vec.verify.certificate import Certificate, Proof, RowName, certify, check_certificate, check_proof


def test_the_leaf_is_the_documented_one(write: Any) -> None:
    """docs/certificates.md, followed by hand."""
    folder = write(ranks=3, segment_rows=20)
    certificate, _ = certify(folder.path)
    manifest = json.loads((folder.path / "_manifest.json").read_bytes())
    leaves = []
    for file in manifest["files"]:
        table = pq.ParquetFile(folder.path / file["path"]).read()
        hashes = row_hash(table.select(["predictions"]))
        for source, predicted in zip(table["source"].to_pylist(), hashes.tolist(), strict=True):
            record = b"\x00" + sha256(source["file"].encode()).digest()
            record += source["row"].to_bytes(8, "little") + source["part"].to_bytes(4, "little")
            record += source["parts"].to_bytes(4, "little") + source["hash"].to_bytes(8, "little")
            leaves.append(sha256(record + predicted.to_bytes(8, "little")).digest())
    assert len(leaves) == 136
    assert certificate.root == rfc6962(leaves).hex()
    assert certificate.manifest == sha256((folder.path / "_manifest.json").read_bytes()).hexdigest()
    assert certificate.model == folder.model.fingerprint()
    assert certificate.snapshot == folder.plan.snapshot.digest


def test_an_intact_folder_holds_wherever_it_lies(write: Any, tmp_path: Path) -> None:
    folder = write(ranks=2)
    certificate, proof = certify(folder.path)
    assert proof is None
    assert check_certificate(certificate, folder.path) == []
    assert check_certificate(certificate, folder.path.rename(tmp_path / "moved")) == []


def test_an_attempt_that_predicted_the_same_is_another_attempt(write: Any) -> None:
    certificate, _ = certify(write(ranks=2).path)
    again = write(ranks=2, name="again", attempt="attempt-2")
    problems = check_certificate(certificate, again.path)
    assert [problem.split()[0] for problem in problems] == ["attempt", "manifest"], "the root is over rows alone"


def test_a_changed_folder_fails(write: Any, swap: Any) -> None:
    folder = write()
    certificate, _ = certify(folder.path)
    folder.edit("rank-0.parquet", swap)
    problems = check_certificate(certificate, folder.path)
    assert [problem.split()[0] for problem in problems] == ["root", "manifest"]
    (folder.path / "rank-1.parquet").write_bytes((folder.path / "rank-1.parquet").read_bytes()[:-1] + b"?")
    with pytest.raises(IncompletePredictions, match=r"rank-1\.parquet \(rank 1\) has SHA-256"):
        check_certificate(certificate, folder.path)


@pytest.mark.parametrize(
    "name", [RowName("a.parquet", 0), RowName("sub/c.parquet", 30), RowName("sub/d ü#.parquet", 20)]
)
def test_a_row_is_proven_alone(write: Any, tmp_path: Path, name: RowName) -> None:
    folder = write(ranks=2)
    certificate, proof = certify(folder.path, row=name)
    assert proof is not None
    (tmp_path / "certificate.json").write_bytes(certificate.dumps())
    (tmp_path / "proof.json").write_bytes(proof.dumps())
    certificate, proof = Certificate.read(tmp_path / "certificate.json"), Proof.read(tmp_path / "proof.json")
    assert check_proof(certificate, proof) == []
    assert check_certificate(certificate, folder.path, row=name) == []
    row = json.loads((tmp_path / "proof.json").read_text())
    row = {key: row[key] for key in ("source", "predictions", "inputs")}
    assert check_proof(certificate, proof, row) == []
    changed = json.loads(json.dumps(row))
    changed["predictions"]["record/label"]["content"]["probability"] += 1e-6
    assert "leads to the root" in check_proof(certificate, proof, changed)[0]
    changed = json.loads(json.dumps(row))
    changed["inputs"]["id"] += "x"
    assert "another input row" in check_proof(certificate, proof, changed)[0]
    changed = json.loads(json.dumps(row))
    changed["source"]["row"] += 1
    assert check_proof(certificate, proof, changed)
    assert "not one of this folder's type" in check_proof(certificate, proof, {"predictions": {"x": 1}})[0]
    assert check_proof(certificate, proof.model_copy(update={"index": proof.index + 1}))
    assert check_proof(certificate, proof.model_copy(update={"path": proof.path[:-1]}))


def test_a_row_that_is_not_there(write: Any) -> None:
    with pytest.raises(VerificationFailed, match=r"a\.parquet row 40 is not among the 136 output rows"):
        certify(write().path, row=RowName("a.parquet", 40))


def test_a_folder_without_rows_has_a_certificate(write: Any, shards: Path) -> None:
    for file in shards.rglob("*.parquet"):
        pq.write_table(pq.read_table(file).slice(0, 0), file)
    folder = write()
    certificate, _ = certify(folder.path)
    assert certificate.root == sha256(b"").hexdigest()
    assert check_certificate(certificate, folder.path) == []


def test_the_command_line(write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from j2v_dagster.cli.main import main

    folder = write(ranks=1)
    proof = tmp_path / "proof.json"
    assert main(["certify", str(folder.path), "--file", "a.parquet", "--row", "3", "--proof", str(proof)]) == 0
    certificate = folder.path / "_certificate.json"
    assert str(certificate) in capsys.readouterr().out
    assert folder.verify().passed, "a certificate in the folder disturbs nothing"
    assert main(["check-certificate", str(certificate), str(folder.path)]) == 0
    assert "136 rows" in capsys.readouterr().out
    assert main(["check-certificate", str(certificate), str(folder.path), "--file", "a.parquet", "--row", "3"]) == 0
    assert main(["check-certificate", str(certificate), "--proof", str(proof)]) == 0
    row = tmp_path / "row.json"
    value = json.loads(proof.read_text())
    value["predictions"]["record/score"]["content"] = 0.0
    row.write_text(json.dumps({"predictions": value["predictions"]}))
    capsys.readouterr()
    assert main(["check-certificate", str(certificate), "--proof", str(proof), "--row-json", str(row)]) == 1
    assert "leads to the root" in capsys.readouterr().err
    assert main(["certify", str(tmp_path / "none")]) == 1
    assert "error: " in capsys.readouterr().err
    proof.write_text("{}")
    assert main(["check-certificate", str(certificate), "--proof", str(proof)]) == 1
    assert main(["check-certificate", str(certificate)]) == 2


def test_no_torch_is_needed() -> None:
    code = "import j2v_dagster.cli, json2vec.verify.certificate, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
