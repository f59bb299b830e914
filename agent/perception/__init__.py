"""Perception: sensor readings become observations, observations become representations."""
