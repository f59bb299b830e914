"""Learning from images: data sets of frames, the networks' training, what they are measured by, and their export."""
