"""The pages and endpoints of the service, one subject per file."""
