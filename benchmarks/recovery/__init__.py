"""What survives when a program dies."""
