"""A trained classifier on new images."""
