"""objective_agent: robot behaviour by planning in a learned world model, under guardrails no goal can argue away."""

__version__ = "0.1.0"
