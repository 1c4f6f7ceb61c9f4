"""HTTP handlers: template.execute, health, metrics; authentication of the agent."""
