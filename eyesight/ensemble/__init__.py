"""Several runs as one classifier."""
