"""How features and inputs are coded for the wire."""
