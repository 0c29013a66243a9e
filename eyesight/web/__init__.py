"""The HTTP service and its pages: the only room with FastAPI, and one without torch."""
