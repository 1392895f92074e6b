"""What NDJSON and CSV share: files of lines, read in blocks of about 4 MB."""

from __future__ import annotations

BLOCK_BYTES = 4 << 20
NO_TEXT = "is empty (0 bytes). Remedy: write it again, or leave it out with match= or paths="
