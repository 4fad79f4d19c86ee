"""What is told to whoever runs the command, without a traceback."""


class SetupError(Exception):
    """Something that whoever runs the command can put right; the text says how."""
