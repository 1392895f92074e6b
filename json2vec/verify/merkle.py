"""Merkle trees over SHA-256 as RFC 6962 defines them, for streams of leaves: memory grows with the logarithm of rows.

leaf  = SHA-256(0x00 || bytes)
node  = SHA-256(0x01 || left || right)
tree  of n > 1 leaves: node(tree of the first k, tree of the rest), k the largest power of two below n
empty = SHA-256 of nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

LEAF, NODE = b"\x00", b"\x01"
_BLOCK = 1 << 12  # leaves merged at a time


def leaf_hashes(records: memoryview, size: int) -> list[bytes]:
    """The leaf hash of each record of ``size`` bytes in ``records``, whose first byte is already `LEAF`."""
    return [sha256(records[at : at + size]).digest() for at in range(0, len(records), size)]


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(NODE + left + right).digest()


class MerkleTree:
    """The root over leaves that come in order."""

    def __init__(self) -> None:
        self.rows = 0
        self._waiting: list[bytes] = []
        self._peaks: list[tuple[int, bytes]] = []  # perfect subtrees from left to right: leaves, hash

    def add(self, leaves: Sequence[bytes]) -> None:
        """Append leaf hashes."""
        self.rows += len(leaves)
        self._waiting += leaves
        whole = len(self._waiting) // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            self._push(_BLOCK, _perfect(self._waiting[start : start + _BLOCK]))
        del self._waiting[:whole]

    def root(self) -> bytes:
        """The root over all leaves so far; more may follow."""
        peaks = [peak for _, peak in self._peaks]
        rest, at = self._waiting, 0
        while at < len(rest):
            size = 1 << ((len(rest) - at).bit_length() - 1)
            peaks.append(_perfect(rest[at : at + size]))
            at += size
        if not peaks:
            return sha256(b"").digest()
        root = peaks.pop()
        while peaks:
            root = node_hash(peaks.pop(), root)
        return root

    def _push(self, size: int, peak: bytes) -> None:
        while self._peaks and self._peaks[-1][0] == size:
            size, peak = 2 * size, node_hash(self._peaks.pop()[1], peak)
        self._peaks.append((size, peak))


def _perfect(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of leaf hashes."""
    level = list(hashes)
    while len(level) > 1:
        level = [sha256(NODE + level[i] + level[i + 1]).digest() for i in range(0, len(level), 2)]
    return level[0]


def path_ranges(index: int, rows: int) -> list[tuple[int, int]]:
    """The half-open ranges of leaves whose subtrees are the audit path of leaf ``index``, from the leaf upward."""
    start, stop, ranges = 0, rows, []
    while stop - start > 1:
        middle = start + (1 << (stop - start - 1).bit_length() - 1)
        if index < middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def root_of_path(leaf: bytes, index: int, rows: int, path: Iterable[bytes]) -> bytes | None:
    """The root that leaf number ``index`` of ``rows`` and its audit path imply; None for a path of the wrong length."""
    ranges, hashes = path_ranges(index, rows), list(path)
    if len(ranges) != len(hashes) or not 0 <= index < rows:
        return None
    for (start, _), sibling in zip(ranges, hashes, strict=True):
        leaf = node_hash(leaf, sibling) if start > index else node_hash(sibling, leaf)
    return leaf
