"""Memory: what the agent keeps beyond the present observation (short-term state, and where one can go)."""
