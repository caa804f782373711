"""The page of a model that several machines share."""
