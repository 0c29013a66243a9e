"""Ensembles: several runs as one classifier."""
