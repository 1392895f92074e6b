"""The service as a whole: processors, other processes, missing parts, and a real server."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import RECORDS, doubled, flatten, label_only

import json2vec as j2v


def test_another_preprocessor_than_in_training(model: Any, tmp_path: Path) -> None:
    trained = j2v.Model.load(model.save(tmp_path / "m.ckpt"))
    trained.preprocessor_fingerprint = j2v.Deployment(model=model).preprocess(flatten).preprocessor.fingerprint  # type: ignore[union-attr]
    path = trained.save(tmp_path / "m.ckpt")
    j2v.Deployment(path).preprocess(flatten).app()
    with pytest.warns(UserWarning, match="trained with a preprocessor of fingerprint .* and Deployment has none"):
        j2v.Deployment(path).app()
    with pytest.raises(j2v.ProcessorError, match="Remedy: pass the preprocessor of the training"):
        j2v.Deployment(path, strict_preprocessor=True).app()


def test_a_deployment_travels_to_another_process_or_says_why_not(tmp_path: Path) -> None:
    made = j2v.Deployment(tmp_path / "m.ckpt", workers=2).preprocess(doubled, times=2).postprocess(label_only)
    again = pickle.loads(pickle.dumps(made))
    assert again.settings == made.settings
    assert again.preprocessor == made.preprocessor
    with pytest.raises(j2v.SchemaError, match=r"workers=2: the postprocessor cannot be handed to another process"):
        made.postprocess(lambda context, predictions: None).serve()


def test_several_workers_of_a_missing_checkpoint_fail_once(tmp_path: Path) -> None:
    with pytest.raises(j2v.CheckpointError, match=r"absent\.ckpt does not exist"):
        j2v.Deployment(tmp_path / "absent.ckpt", workers=2).serve()


def test_a_missing_extra_names_the_remedy() -> None:
    code = "import sys; sys.modules['fastapi'] = None; import json2vec; json2vec.Deployment"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "ModuleNotFoundError: json2vec.Deployment needs fastapi, which is not installed. "
        "Remedy: pip install 'json2vec-dagster[serving]'"
    ) in result.stderr


SERVICE = """
import json2vec as j2v

def label_only(context, predictions):
    return {"label": predictions["record/label"]["content"]["value"]}

if __name__ == "__main__":
    j2v.Deployment("m.ckpt", host="127.0.0.1", log_level="warning").postprocess(label_only).serve()
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_serve_for_real(model: Any, tmp_path: Path, workers: int) -> None:
    model.save(tmp_path / "m.ckpt")
    (tmp_path / "service.py").write_text(SERVICE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = os.environ | {
        "JSON2VEC_PORT": str(port), "JSON2VEC_WORKERS": str(workers), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(j2v.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "service.py"], cwd=tmp_path, env=environ)
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while True:
            try:
                answer = httpx.post(f"{url}/predict", json=RECORDS, timeout=60)
                break
            except httpx.TransportError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert answer.status_code == 200
        assert [one["predictions"]["label"] for one in answer.json()] == (
            model.predict(RECORDS)["record/label"]["content"]["value"]
        )
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    finally:
        process.terminate()
        process.wait(30)
