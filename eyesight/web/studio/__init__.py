"""The studio's state on a server: its folder, the work going on, and the networks that answer."""
