"""Learning: bags of what sensors saw and commands did -> sequences -> world models."""
