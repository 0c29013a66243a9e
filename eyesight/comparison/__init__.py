"""Compare runs and recipes in one table, with intervals and paired tests."""
