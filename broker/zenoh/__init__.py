"""Direct links between the members of a deployment: the only door to the Zenoh library."""
