"""The transport over MQTT: the only door to paho."""
