"""`python -m samcli` is `samcli`."""

from samcli.cli import main

if __name__ == "__main__":
    main()
