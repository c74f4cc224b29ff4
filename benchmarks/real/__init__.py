"""Real photographs."""
