"""The commands, by what a person is doing: training, judging, serving; each imports what it needs when it runs."""
