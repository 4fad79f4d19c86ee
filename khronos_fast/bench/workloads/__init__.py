"""What the groups measure."""
