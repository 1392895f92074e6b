"""What the rows of a snapshot are read from: the store of its files, or the table that stands for a single file."""

from __future__ import annotations

from typing import TypeAlias

import pyarrow as pa

from json2vec.storage.store import Store

Source: TypeAlias = Store | pa.Table
