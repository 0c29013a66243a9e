"""The help of a command, in which arguments and values are named as people name them."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from typer.core import TyperCommand

from eyesight.errors import UserError

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter, Parameter

ARGUMENT = "argument"
NUMBER = re.compile(r"<(int|float)( range)?>")  # what Typer shows for an option without a metavar


class Command(TyperCommand):
    """A command whose help shows metavars, and never a Python type."""

    allow_extra_args = True  # refused by `parse_args` with a hint

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the arguments; raises UserError for one too many, which may be the data set."""
        given = list(args)
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            takes_data = any("--data" in parameter.opts for parameter in self.params)
            raise too_many(ctx.command_path, given, ctx.args, takes_data=takes_data)
        return rest

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


def too_many(command: str, given: list[str], extra: list[str], *, takes_data: bool) -> UserError:
    """The error for arguments after the last one that a command takes."""
    name = command.split()[-1]
    hint = f"see `eyesight {name} --help`"
    if takes_data and "--data" not in given and len(extra) == 1:
        place = len(given) - 1 - given[::-1].index(extra[0])
        words = [name, *given[:place], "--data", extra[0], *given[place + 1 :]]
        hint = f"data sets are given with --data: `eyesight {shlex.join(words)}`"
    return UserError(f"unexpected argument {' '.join(extra)}", hint, code=2)


def _shown(parameter: Parameter) -> str:
    return parameter.metavar or (parameter.name or "").upper()
