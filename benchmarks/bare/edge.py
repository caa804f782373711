"""The least that sends features: head, inputs (.npy), port, topic and frames as arguments. It stays until killed."""

import signal
import sys
from itertools import cycle

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

head, inputs, port, topic, count = sys.argv[1:]
interpreter = Interpreter(model_path=head, num_threads=1)
interpreter.allocate_tensors()
source, boundary = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
client.connect("127.0.0.1", int(port))
client.loop_start()
for _, row in zip(range(int(count)), cycle(np.load(inputs)), strict=False):
    interpreter.set_tensor(source, row[None])
    interpreter.invoke()
    client.publish(topic, interpreter.get_tensor(boundary).tobytes(), qos=1)
signal.pause()
