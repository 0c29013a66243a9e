"""The service and its pages; nothing outside this folder imports FastAPI, and nothing in here imports torch."""
