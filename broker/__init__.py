"""Everything between edge and cloud, and the cloud itself."""
