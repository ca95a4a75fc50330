"""A file per command, named as the command is, and the session they share."""

from __future__ import annotations

from importlib import import_module

from vae.config.options import Options


def execute(options: Options) -> int:
    """Carry out a command. Returns the exit code."""
    from vae.commands.session import Session  # here, so that importing this room costs no torch
    from vae.system.console import Console
    from vae.system.memory import explain_out_of_memory

    command = import_module(f"vae.commands.{options.name}")
    with explain_out_of_memory(), Console(quiet=options.quiet) as console, Session(options, console) as session:
        command.run(session, options)
    return 0
