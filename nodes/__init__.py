"""ROS 2 nodes of objective_agent: one thin file per module of the architecture."""
