"""Moving the cut between two frames: what may be chosen, what is learnt from live traffic, and the link's probes."""
