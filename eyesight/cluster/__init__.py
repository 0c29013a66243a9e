"""Comparisons and predictions on a Ray cluster."""
