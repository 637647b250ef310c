"""What the command lines of the benches share."""

import argparse


def at_least(least, kind):
    """A number within bounds, for argparse."""

    def parsed(text):
        value = kind(text)
        if not least <= value <= 600:
            raise argparse.ArgumentTypeError(f"{text} is not within {least} to 600")
        return value

    return parsed
