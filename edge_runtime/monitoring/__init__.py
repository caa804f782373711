"""What an edge shows and tells of itself."""
