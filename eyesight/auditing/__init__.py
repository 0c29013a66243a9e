"""The audit of a data set.

Wrong labels, near duplicates, outliers, low-quality images and shortcuts.
"""
