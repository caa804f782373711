"""Which machines, in which layout, for which run of operators."""
