"""Files of a given age."""

from __future__ import annotations

import os
import time
from pathlib import Path


def put(root: Path, path: str, *, age_s: float = 1000.0, content: bytes = b"PAR1") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    moment = time.time() - age_s
    os.utime(file, (moment, moment))
    return file
