"""What training data looked like, counted and kept in the checkpoint."""
