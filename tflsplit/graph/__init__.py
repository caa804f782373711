"""The model as a flat graph: read and sliced as a `.tflite` file, cut, run by the interpreter."""
