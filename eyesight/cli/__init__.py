"""The commands, grouped by activity; each imports what it needs when it runs."""
