"""Pictures of what the agent thought and did: for people to look at, never part of the control loop.

`recording` holds one run in memory, `bag` reads it from an MCAP file, `map_view`, `camera_view` and `thought_view` each draw
one part of a video frame, `frame` puts them together, `video` writes H.264 and `dashboard` plots the run over time.  No ROS
here, and no other module of the architecture.
"""
