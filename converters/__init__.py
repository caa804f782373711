"""From a model file to a package. TensorFlow and Keras are imported here and nowhere else, inside functions."""
