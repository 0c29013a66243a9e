"""The HTTP service and its pages; the only package with FastAPI, without torch."""
