"""`python -m eyesight` is the command line."""

from eyesight.cli.main import main

if __name__ == "__main__":
    main()
