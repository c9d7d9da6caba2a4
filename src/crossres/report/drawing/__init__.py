"""What figures share: the journal style, the runs' data, curves over seeds, and labels beside the lines."""
