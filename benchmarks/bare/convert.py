"""The least that makes an int8 TFLite file of a Keras model: model, calibration samples (pixels, or floats as the model
takes them) and result as arguments."""

import sys

import keras
import numpy as np
import tensorflow as tf

model = keras.models.load_model(sys.argv[1], compile=False)
for layer in model.layers:
    if isinstance(layer, keras.layers.RNN):
        layer.unroll = True  # the converter takes no loops in int8
samples = np.load(sys.argv[2])
if samples.dtype == np.uint8:
    samples = samples.astype(np.float32) / 127.5 - 1
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
with open(sys.argv[3], "wb") as file:
    file.write(converter.convert())
