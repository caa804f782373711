"""A package as a page, before there is a plan: its network, its cuts, and where the time goes."""
