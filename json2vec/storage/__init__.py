"""Where bytes lie: the `Store` protocol, local folders, S3, and `open_store`, which picks one."""
