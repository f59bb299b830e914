"""The configurator: turns a task into the settings of all the other modules, one numbered snapshot per change."""
