"""Bytes become pixels: sources, health check, preparation, split, store."""
