"""Data set formats: class folders, CSV, npz, IDX, CIFAR, Stanford Dogs."""
