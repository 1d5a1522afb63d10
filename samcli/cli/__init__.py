"""The command line: parse, build options, run, show what became of it, exit."""

from samcli.cli import commands as commands  # registers them
from samcli.cli.app import app as app
from samcli.cli.app import main as main
