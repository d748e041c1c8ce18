"""The real command line, called in this process."""

from typer.testing import CliRunner, Result

from latadj.cli import app


def run(*arguments: str, expect: int = 0) -> Result:
    """Run a command, which ends with the exit code that is expected."""
    found = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert found.exit_code == expect, found.output
    return found
