"""The audit of a data set.

Wrong labels, near copies, images unlike the rest, and what gives a class away.
"""
