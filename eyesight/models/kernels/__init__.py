"""Faster CPU kernels in place of PyTorch's convolutions."""
