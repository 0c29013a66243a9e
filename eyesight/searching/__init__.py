"""The best classifier that a time allows: recipes are tried, and the best is trained."""
