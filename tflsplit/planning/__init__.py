"""Where to cut for one edge and one cloud: candidates, cost, constraints, decision, plan file."""
