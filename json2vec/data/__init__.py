"""From files and frames to batches. Only loader, training, module, polars and streaming need torch."""
