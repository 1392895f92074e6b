"""Apache Iceberg: write, audit on a branch, publish in one commit."""

from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse

__all__ = ["IcebergWarehouse"]
