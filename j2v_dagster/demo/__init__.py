"""The demo: one aircraft-day a row, from the flights that left New York City in 2013, predicted day by day."""
