"""What happens to a partition: freeze, predict, verify, load; and what of it is shown."""
