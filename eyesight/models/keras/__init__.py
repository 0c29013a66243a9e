"""Weights that Keras saved as HDF5, and the networks that they belong to."""
