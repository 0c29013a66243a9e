"""Segmentation data: images with a mask each."""
