"""Moving the split while it runs: traces of links, estimates of the present, and the controller that picks a cut."""
