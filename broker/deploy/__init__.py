"""A secured Mosquitto for a deployment: certificates, access rules, unit."""
