"""Prediction folders: one Parquet file a rank, complete or nothing. The format: docs/rank-files.md."""
