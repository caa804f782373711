"""What the model files of a package say of themselves to other tools."""
