"""A shared model's workers as the processes they are in service, and their results beside the whole model's."""
