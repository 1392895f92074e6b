"""The output folder: attempts, the sealed one, locks, cleaning up, estimates."""
