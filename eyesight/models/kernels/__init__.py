"""Faster CPU kernels that stand in for PyTorch's convolutions."""
