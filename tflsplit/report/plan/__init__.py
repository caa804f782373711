"""The page of a plan for one edge and one cloud."""
