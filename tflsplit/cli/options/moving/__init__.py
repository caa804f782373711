"""Options of an edge about where each of its frames is answered: the cut that moves, and the gate."""
