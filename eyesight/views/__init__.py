"""What a run has to show: figures, tables and HTML, from its folder alone."""
