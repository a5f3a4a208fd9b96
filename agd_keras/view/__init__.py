"""The page over what is on disk: scans, predictions, runs."""
