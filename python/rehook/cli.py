"""The command line `rehook`. Only this file and its helpers import click and rich."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from rehook import _console, _store, _trust
from rehook.config import did_you_mean, resolve
from rehook.errors import ConfigError, RehookError
from rehook.project_settings import find_project
from rehook.report import Explanation, Failure, ReloadReport, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rehook._native import Session
    from rehook._program import Program

__all__ = ["main"]

OK, FAILED, USAGE = 0, 1, 2


class _Commands(click.Group):
    """A group that knows what was meant by a misspelt command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            hint = did_you_mean(name, self.list_commands(ctx))
            message = f"no command {name!r}; {hint}"
            raise click.UsageError(message, ctx)
        return super().resolve_command(ctx, args)


class _RunCommand(click.Command):
    """`rehook run`: whatever follows the program is the program's own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] == ["-m"]:
            ctx.params["module"] = args[1] if len(args) > 1 else ""
            rest = args[2:]
        elif args and args[0].startswith("-m") and not args[0].startswith("--"):
            ctx.params["module"] = args[0][2:]
            rest = args[1:]
        elif args and args[0].startswith("-") and args[0] != "-":
            return super().parse_args(ctx, args)
        else:
            ctx.params["module"] = None
            rest = args
        if not rest and not ctx.params["module"]:
            message = "name a script, or a module with -m"
            raise click.UsageError(message, ctx)
        ctx.params["arguments"] = tuple(rest)
        return []


_folder = click.Path(exists=True, file_okay=False)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print data, for programs.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_console.version
)
def rehook() -> None:
    """Rebuild CMake extensions when they are imported, and reload them in place."""


@rehook.command(cls=_RunCommand)
@click.option("-m", "module", metavar="MODULE", help="Run a module, as python -m does.")
@click.argument("arguments", nargs=-1, metavar="[SCRIPT] [ARGS]...")
def run(module: str | None, arguments: tuple[str, ...]) -> Program:
    """Run a SCRIPT or a module with the import hook installed."""
    from rehook._program import Program  # noqa: PLC0415

    return Program(module, list(arguments))


@rehook.command()
@click.argument("targets", nargs=-1, metavar="[PROJECT|MODULE]...")
@click.option("--force", is_flag=True, help="Build even if nothing changed.")
@_json_option
def build(targets: tuple[str, ...], *, force: bool, as_json: bool) -> int:
    """Build projects or modules into the store; the project of this folder by default."""
    for one in targets:
        if os.sep in one and not os.path.isdir(one):
            message = f"no such folder: {one}"
            raise click.UsageError(message)

    def work(session: Session, projects: list[str]) -> list[dict[str, Any]]:
        modules = [one for one in targets if not _is_project(one)]
        wanted = [*_asked_projects(targets), *modules] or projects
        if not wanted:
            message = f"no CMake project in {os.getcwd()} or above"
            raise ConfigError(message, hint="name the folder of a project")
        return session.build(wanted, force)

    return _answer(targets, work, _console.print_builds, as_json=as_json)


@rehook.command()
@click.argument("projects", nargs=-1, metavar="[PROJECT]...", type=_folder)
@_json_option
def status(projects: tuple[str, ...], *, as_json: bool) -> int:
    """Show projects and modules, and whether what was built is what is saved."""
    return _answer(
        projects,
        lambda session, _: Status(session.status()),
        _console.print_status,
        as_json=as_json,
    )


@rehook.command()
@click.argument("module")
@click.option("--project", metavar="FOLDER", type=_folder, help="The project to look in.")
@_json_option
def explain(module: str, project: str | None, *, as_json: bool) -> int:
    """Show why MODULE would be rebuilt or not, and which inputs changed."""
    return _answer(
        (project,) if project else (),
        lambda session, _: Explanation(session.explain(module)),
        _console.print_text,
        as_json=as_json,
    )


@rehook.command()
@click.argument("projects", nargs=-1, metavar="[PROJECT]...", type=_folder)
@click.option("--retry", is_flag=True, help="Build again what failed.")
@_json_option
def errors(projects: tuple[str, ...], *, retry: bool, as_json: bool) -> int:
    """Show the last failures in full."""

    def work(session: Session, _: list[str]) -> object:
        if retry:
            return ReloadReport(session.retry())
        return [Failure(one) for one in session.errors()]

    show = _console.print_text if retry else _console.print_failures
    return _answer(projects, work, show, as_json=as_json)


@rehook.command()
@click.argument("folders", nargs=-1, metavar="[FOLDER]...")
@click.option("--remove", is_flag=True, help="Take the folders off the list.")
@click.option("--list", "as_list", is_flag=True, help="Show the list.")
@_json_option
def allow(folders: tuple[str, ...], *, remove: bool, as_list: bool, as_json: bool) -> int:
    """Allow rehook to build the CMake projects in FOLDER, and below, when they are imported.

    Building runs what the project's author wrote: allow what you trust.
    """
    if not folders and not as_list:
        message = "name a folder, or ask for the list with --list"
        raise click.UsageError(message)
    try:
        for one in folders:
            if not remove:
                _trust.allow(one)
            elif not _trust.forget(one):
                message = f"{one} is not on the list"
                raise ConfigError(message, hint="see it with: rehook allow --list")
        known = _trust.allowed_folders()
    except RehookError as error:
        if as_json:
            click.echo(_dump({"error": _console.error_record(error)}))
        else:
            _console.print_error(error)
        return FAILED
    if as_json:
        click.echo(_dump(known))
    elif as_list:
        _console.print_text("\n".join(known) or "no folder is allowed")
    return OK


@rehook.command()
@_json_option
def doctor(*, as_json: bool) -> int:
    """Check this machine: tools, store, settings; each problem with what to type."""
    from rehook import _doctor  # noqa: PLC0415

    findings = _doctor.examine()
    if as_json:
        click.echo(_dump(findings))
    else:
        _console.print_findings(findings)
    return FAILED if findings["problems"] else OK


rehook.add_command(_store.log)
rehook.add_command(_store.store)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Takes the arguments without the program's name (the process's by default).
    Gives the exit code: 0 for success, 1 for a failure, 2 for a misuse.
    """
    from rehook._program import Program  # noqa: PLC0415

    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = rehook.main(given or ["--help"], prog_name="rehook", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    if isinstance(result, Program):
        # Not inside of click, which would catch some of the program's own exceptions.
        return result.run()
    return result if isinstance(result, int) else OK


def _answer(
    places: tuple[str, ...],
    work: Callable[[Session, list[str]], Any],
    show: Callable[[Any], None],
    *,
    as_json: bool,
) -> int:
    """Open a session for the projects named in `places`, have `work` ask it, and print that."""
    session = None
    try:
        projects = _asked_projects(places) or _own_project()
        _be_in_working_directory()
        session = _open(projects)
        with _console.progress(session):
            result = work(session, projects)
    except RehookError as error:
        if as_json:
            click.echo(_dump({"error": _console.error_record(error)}))
        else:
            _console.print_error(error)
        return FAILED
    except ImportError as error:  # the compiled part is missing
        _console.print_message(str(error))
        return FAILED
    finally:
        if session is not None:
            session.close()
    if as_json:
        click.echo(_dump(result))
    else:
        show(result)
    return OK


def _open(projects: list[str]) -> Session:
    from rehook import _make_session  # noqa: PLC0415 - needs the compiled part

    arguments: dict[str, object] = {}
    if projects:
        for one in projects:  # what a command line names may be built
            _trust.allow_for_now(one)
        settings = resolve()
        _trust.leave_to_user(settings)
        arguments["projects"] = list(dict.fromkeys([*projects, *settings.texts("projects")]))
    return _make_session.open_session(resolve(arguments), _make_session.BUILD_ONLY)


def _is_project(place: str) -> bool:
    return os.path.isdir(place) and (os.sep in place or not _looks_like_module(place))


def _looks_like_module(place: str) -> bool:
    """Tell whether the name of a folder here means a module: it is no project itself."""
    named = all(part.isidentifier() for part in place.split("."))
    return named and find_project(place) != os.path.abspath(place)


def _asked_projects(places: tuple[str, ...]) -> list[str]:
    return [os.path.abspath(one) for one in places if _is_project(one)]


def _own_project() -> list[str]:
    found = find_project(os.getcwd())
    return [found] if found else []


def _be_in_working_directory() -> None:
    """Search modules as `python -m` would, wherever the rehook program itself is."""
    if not sys.flags.safe_path:
        sys.path[:1] = [os.getcwd()]


def _dump(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
