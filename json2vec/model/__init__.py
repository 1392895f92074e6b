"""The model: its modules, its predictions, its checkpoint."""
