"""The tree is that of RFC 6962, against a plain reading of its definition."""

from __future__ import annotations

from hashlib import sha256

import pytest
from rfc6962 import rfc6962

from json2vec.verify.merkle import MerkleTree, path_ranges, root_of_path


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 8, 13, 4096, 4097, 9001])
@pytest.mark.parametrize("step", [1, 7, 5000])
def test_the_tree_is_that_of_rfc_6962(n: int, step: int) -> None:
    leaves = [sha256(str(i).encode()).digest() for i in range(n)]
    tree = MerkleTree()
    for start in range(0, n, step):
        tree.add(leaves[start : start + step])
    assert tree.root() == rfc6962(leaves)
    for index in {0, n // 3, n // 2, n - 1} if n else set():
        path = [rfc6962(leaves[a:b]) for a, b in path_ranges(index, n)]
        assert root_of_path(leaves[index], index, n, path) == tree.root()
        assert root_of_path(sha256(b"other").digest(), index, n, path) != tree.root()
        assert root_of_path(leaves[index], index, n, [*path, path[0] if path else b""]) is None
