"""The help of a command, in which arguments and values are named as people name them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter, Parameter

ARGUMENT = "argument"
NUMBER = re.compile(r"<(int|float)( range)?>")  # what Typer shows for an option without a metavar


class Command(TyperCommand):
    """A command whose help shows metavars, and never a Python type."""

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """The parts of the usage line after the command."""
        pieces = ["[OPTIONS]"]
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == ARGUMENT:
                name = _shown(parameter)
                pieces.append(name if parameter.required else f"[{name}]")
        return pieces

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the arguments and the options with their help."""
        arguments = []
        options = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == ARGUMENT:
                arguments.append((_shown(parameter), record[1]))
            else:
                options.append((NUMBER.sub("N", record[0]), record[1]))
        for title, records in (("Arguments", arguments), ("Options", options)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _shown(parameter: Parameter) -> str:
    return parameter.metavar or (parameter.name or "").upper()
