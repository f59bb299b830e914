"""World models: predict what actions lead to."""
