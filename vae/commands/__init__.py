"""A file per command, named as the command is, and the session that those with a model share."""

from __future__ import annotations

from importlib import import_module

from vae.config.options import ModelOptions, Options
from vae.system.errors import check_single_process


def execute(options: Options) -> int:
    """Carry out a command: with the screen and, if it works with a model, the session. Returns the exit code."""
    from vae.system.console import Console  # here, so that --help doesn't wait for it

    if not options.several_processes:
        check_single_process(options.name)
    command = import_module(f"vae.commands.{options.name}")
    if not isinstance(options, ModelOptions):
        with Console(quiet=options.quiet) as console:
            command.run(options, console)
        return 0
    from vae.commands.session import Session
    from vae.system.distributed import process_group
    from vae.system.memory import explain_out_of_memory

    with (
        explain_out_of_memory(),
        process_group(options.device) as processes,
        Console(quiet=options.quiet or not processes.is_main) as console,
        Session(options, console, processes) as session,
    ):
        command.run(session, options)
    return 0
