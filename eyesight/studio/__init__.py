"""Projects of `eyesight studio`: folders and work, without HTTP."""
