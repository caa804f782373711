"""Files of measured timings and links, and the statistics they are made of."""
