"""The commands, by what a person is doing; each imports what it needs when it runs."""
