"""`python -m eyesight` is the command line."""

from eyesight.cli.main import process

if __name__ == "__main__":
    process()
