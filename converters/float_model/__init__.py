"""The float model beside the int8 one: layers, matching tensors, float tails, fidelity."""
