"""Files to identified rows: snapshot, plan, formats, readers, the row hash and `RowBatch`. No torch here."""
