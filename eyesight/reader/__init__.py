"""Postal codes: from a photograph to digits as MNIST draws them."""
