"""Where int8 loses: the error of each operator against float, the columns it hits, and the cut that avoids it."""
