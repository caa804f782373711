"""A Keras file with another configuration or layout, which any Keras opens as it opens all others; weights stay."""
