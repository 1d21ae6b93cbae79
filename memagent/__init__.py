"""memagent: agents that remember and adapt, for control tasks that drift."""
