"""The audit branch of one load: stage a snapshot on it, look at it as a reader would, move ``main`` to it.

pyiceberg 0.12 has no fast-forward. It is made here of what the Iceberg specification defines for it: one commit that
sets ``main`` and removes the branch, with the requirement that both are still where the load left them.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from j2v_dagster.warehouse.base import WarehouseError
from j2v_dagster.warehouse.fence import dump_note, parse_note
from j2v_dagster.warehouse.iceberg.data_files import in_partition, partition_files, remove_abandoned

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

MAIN = "main"
_COMMITS = 100
_log = logging.getLogger(__name__)


class OutcomeUnknown(WarehouseError):
    """A publishing commit of which nobody knows whether it arrived; its files are kept."""


class AuditBranch:
    """A partition's audit branch. All loads of a partition share its name, so that each finds what the others do there.

    Args:
        table: as last seen.
        column, partition: the partition column and its value.
        load: the load's own id; its snapshots carry it.
        where: table and partition, for messages.
    """

    def __init__(self, table: Table, *, column: str, partition: str, load: str, where: str) -> None:
        self.table, self.column, self.partition, self.load, self.where = table, column, partition, load, where
        key = sha256(partition.encode()).hexdigest()
        self.name = f"j2v-audit-{key[:16]}"
        self.noted = f"j2v.shows.{key[:32]}"
        self.staged: Snapshot | None = None
        self.note: Mapping[str, str] = {}

    def main(self) -> Snapshot:
        """What readers see."""
        snapshot = self.table.current_snapshot()
        if snapshot is None:
            raise WarehouseError(f"{self.where}: the table lost its main branch. Nothing was changed")
        return snapshot

    def shown(self) -> dict[str, str] | None:
        """The note of the load that readers see, by a property of the table: snapshots, and what they say, expire."""
        return parse_note(self.table.properties.get(self.noted))

    def files(self, snapshot: Snapshot) -> list[DataFile]:
        """The partition's data files in ``snapshot``."""
        return partition_files(self.table, snapshot, column=self.column, partition=self.partition)

    def stage(
        self, base: Snapshot, old: Sequence[DataFile], new: Sequence[DataFile], note: Mapping[str, str]
    ) -> Snapshot | None:
        """Put one snapshot on the branch, on top of ``base``, without the ``old`` and with the ``new`` files.

        Returns:
            The snapshot; None where other commits to the table kept it from getting there.

        Raises:
            WarehouseError: another load of the partition took the branch.
        """
        from pyiceberg.exceptions import CommitFailedException

        self._reset(base)
        self.note = note
        sequence = self.table.last_sequence_number
        properties = {f"j2v.{name}": value for name, value in note.items()}
        properties |= {"j2v.load": self.load, "j2v.partition": self.partition}
        try:
            with (
                self.table.transaction() as transaction,
                transaction.update_snapshot(snapshot_properties=properties, branch=self.name).overwrite() as producer,
            ):
                for data_file in old:
                    producer.delete_data_file(data_file)
                for data_file in new:
                    producer.append_data_file(data_file)
        except CommitFailedException:
            self.table.refresh()
            return None
        except ValueError:
            # What pyiceberg raises where another branch took our sequence number.
            self.table.refresh()
            if self.table.last_sequence_number == sequence:
                raise
            return None
        self.table.refresh()
        staged = self.table.snapshot_by_name(self.name)
        if staged is None or _property(staged, "j2v.load") != self.load:
            raise self._overtaken()
        if staged.parent_snapshot_id != base.snapshot_id:
            raise self._overtaken()
        self.staged = staged
        return staged

    def audit(
        self, base: Snapshot, staged: Snapshot, old: Sequence[DataFile], new: Sequence[DataFile], *, rows: int
    ) -> None:
        """Look at the staged snapshot: exactly the new files, whole, ``rows`` rows, and nothing else changed.

        Raises:
            WarehouseError: says what was found and what was expected.
        """
        try:
            self._audit(base, staged, old, new, rows=rows)
        except OSError:
            # A load that takes the branch removes what it finds there.
            self.table.refresh()
            if self._head() != staged.snapshot_id:
                raise self._overtaken() from None
            raise

    def _audit(
        self, base: Snapshot, staged: Snapshot, old: Sequence[DataFile], new: Sequence[DataFile], *, rows: int
    ) -> None:
        import pyarrow.parquet as pq

        def compare(label: str, actual: Any, expected: Any) -> None:
            if actual != expected:
                raise WarehouseError(
                    f"{self.where}: {label} on the audit branch: {actual}; expected {expected}. Nothing was changed"
                )

        paths = sorted(data_file.file_path for data_file in self.files(staged))
        compare("data files", paths, sorted(data_file.file_path for data_file in new))
        for data_file in new:
            source = self.table.io.new_input(data_file.file_path)
            with source.open() as file:
                actual = pq.ParquetFile(file).metadata.num_rows, len(source)
            recorded = data_file.record_count, data_file.file_size_in_bytes
            compare(f"rows and bytes of {data_file.file_path}", actual, recorded)
        filtered = self.table.scan(row_filter=in_partition(self.column, self.partition), snapshot_id=staged.snapshot_id)
        compare("rows", filtered.count(), rows)
        before, after = _property(base, "total-records"), _property(staged, "total-records")
        if before is not None and after is not None:  # other writers may leave these out
            kept = int(before) - sum(data_file.record_count for data_file in old)
            compare("rows of other partitions", int(after) - rows, kept)

    def fast_forward(self, base: Snapshot, staged: Snapshot) -> bool:
        """Move ``main`` from ``base`` to ``staged``, keep the load's note and remove the branch, in one commit; False
        if ``main`` had moved.

        Raises:
            OutcomeUnknown: the catalog does not say whether the commit arrived.
            WarehouseError: another load of the partition took the branch.
        """
        from pyiceberg.exceptions import CommitFailedException

        updates = [_set_ref(MAIN, staged), _remove_ref(self.name), *self._keep_note()]
        for _ in range(_COMMITS):
            try:
                self._commit(updates, {MAIN: base.snapshot_id, self.name: staged.snapshot_id})
            except CommitFailedException as exc:
                if self._is_published(staged, exc):
                    return True
            except Exception as exc:
                # Perhaps only the reply was lost.
                if self._is_published(staged, exc):
                    return True
                raise
            else:
                return True
            if self._head() != staged.snapshot_id:
                raise self._overtaken()
            if self.main().snapshot_id != base.snapshot_id:
                return False
            _pause()  # only another branch of the table was committed to
        raise self._refused()

    def _keep_note(self) -> list[Any]:
        from pyiceberg.table.update import RemovePropertiesUpdate, SetPropertiesUpdate

        if self.note:
            return [SetPropertiesUpdate(updates={self.noted: dump_note(self.note)})]
        return [RemovePropertiesUpdate(removals=[self.noted])] if self.noted in self.table.properties else []

    def abandon(self) -> None:
        """Remove what this load has on the branch."""
        self.table.refresh()
        if self.staged is None or self._head() != self.staged.snapshot_id:
            return
        updates = [_remove_ref(self.name), _remove_snapshot(self.staged)]
        self._commit(updates, {self.name: self.staged.snapshot_id})
        remove_abandoned(self.table, self.staged, data=False)

    def _reset(self, base: Snapshot) -> None:
        """Set the branch to ``base``, and remove what a load that died, or our last try, left on it."""
        from pyiceberg.exceptions import CommitFailedException

        leftover = self.table.snapshot_by_name(self.name)
        if self.staged is not None and (leftover is None or leftover.snapshot_id != self.staged.snapshot_id):
            raise self._overtaken()
        updates = [_set_ref(self.name, base)]
        abandoned = leftover if leftover is not None and self._is_unpublished(leftover) else None
        if abandoned is not None:
            updates.append(_remove_snapshot(abandoned))
        for _ in range(_COMMITS):
            try:
                self._commit(updates, {self.name: leftover.snapshot_id if leftover else None})
                break
            except CommitFailedException:
                # Somebody committed: to another branch, which is no matter, or to this one, which is.
                self.table.refresh()
                if self._head() != (leftover.snapshot_id if leftover else None):
                    raise self._overtaken() from None
                _pause()
        else:
            raise self._refused()
        self.table.refresh()
        if abandoned is not None:
            # Our own data files are staged again; a dead load's are garbage.
            ours = self.staged is not None and self.staged.snapshot_id == abandoned.snapshot_id
            remove_abandoned(self.table, abandoned, data=not ours)
        self.staged = None

    def _commit(self, updates: Sequence[Any], expected: Mapping[str, int | None]) -> None:
        """One commit that the catalog refuses unless each reference is at the expected snapshot."""
        from pyiceberg.table.update import AssertRefSnapshotId, AssertTableUUID

        requirements = (
            AssertTableUUID(uuid=self.table.metadata.table_uuid),
            *(
                AssertRefSnapshotId.model_validate({"ref": name, "snapshot-id": snapshot_id})
                for name, snapshot_id in expected.items()
            ),
        )
        self.table.catalog.commit_table(self.table, requirements, tuple(updates))

    def _head(self) -> int | None:
        reference = self.table.refs().get(self.name)
        return None if reference is None else reference.snapshot_id

    def _is_published(self, staged: Snapshot, cause: Exception) -> bool:
        """Whether ``main`` holds the staged snapshot, by the catalog's newest word."""
        try:
            self.table.refresh()
        except Exception as exc:
            raise OutcomeUnknown(
                f"{self.where}: snapshot {staged.snapshot_id} was to be published, and the catalog does not say "
                f"whether it was ({cause}; then {exc}). Remedy: load again once the catalog answers; the rows are the "
                "same either way"
            ) from cause
        return self._is_in_main(staged)

    def _is_in_main(self, snapshot: Snapshot) -> bool:
        from pyiceberg.table.snapshots import ancestors_of

        main = self.table.current_snapshot()
        return any(ancestor.snapshot_id == snapshot.snapshot_id for ancestor in ancestors_of(main, self.table.metadata))

    def _is_unpublished(self, snapshot: Snapshot) -> bool:
        """Whether a load of this partition staged it and did not come to publish it."""
        return _property(snapshot, "j2v.partition") == self.partition and not self._is_in_main(snapshot)

    def _overtaken(self) -> WarehouseError:
        return WarehouseError(
            f"{self.where}: another load of this partition took its audit branch {self.name}, and wins. This one "
            "changed nothing. Remedy: load again if these rows are the newer"
        )

    def _refused(self) -> WarehouseError:
        return WarehouseError(
            f"{self.where}: the catalog refused {_COMMITS} commits in a row because of others. Nothing was changed. "
            "Remedy: run fewer loads of this table at once"
        )


def _property(snapshot: Snapshot, name: str) -> str | None:
    return snapshot.summary.additional_properties.get(name) if snapshot.summary else None


def _set_ref(name: str, snapshot: Snapshot) -> Any:
    from pyiceberg.table.update import SetSnapshotRefUpdate

    return SetSnapshotRefUpdate.model_validate(
        {"ref-name": name, "type": "branch", "snapshot-id": snapshot.snapshot_id}
    )


def _remove_ref(name: str) -> Any:
    from pyiceberg.table.update import RemoveSnapshotRefUpdate

    return RemoveSnapshotRefUpdate.model_validate({"ref-name": name})


def _remove_snapshot(snapshot: Snapshot) -> Any:
    from pyiceberg.table.update import RemoveSnapshotsUpdate

    return RemoveSnapshotsUpdate.model_validate({"snapshot-ids": [snapshot.snapshot_id]})


def _pause() -> None:
    time.sleep(random.uniform(0.01, 0.1))
