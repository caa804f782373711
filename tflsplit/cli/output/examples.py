"""The examples at the end of each command's help."""


def epilog(*commands: str) -> str:
    """Text for `epilog` of a click command: the commands as they are written, each on its own line or lines."""
    lines = "\n".join("  " + command.replace("\n", "\n      ") for command in commands)
    # Click rewraps a paragraph unless it begins with a backspace character.
    return f"\b\nExample{'s' if len(commands) > 1 else ''}:\n{lines}"
