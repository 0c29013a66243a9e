"""Projects of one's own images: the folders behind `eyesight studio`, without HTTP."""
