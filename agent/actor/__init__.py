"""The actor: optimizers that search for the actions of least energy among the feasible ones."""
