"""The `twinpath` command. Data goes to stdout, messages to stderr; the exit status is that of the error.

0 done, 1 a correctness goal missed, 2 usage, 3 the machine lacks something, 4 a component failed, 130 interrupted.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import psycopg2
import typer

from lab import (
    cli_advise,
    cli_bench,
    cli_compare,
    cli_doctor,
    cli_drill,
    cli_experiment,
    cli_live,
    cli_report,
    cli_simulate,
    cli_source,
    cli_store,
)
from lab.console import Progress
from twinpath import env_typos
from twinpath.errors import ConfigurationError, TwinpathError, first_line
from twinpath.settings import LOOPBACK, ROOT

EXAMPLES = """
Examples:

  twinpath demo                      all paths under one load, proved equal to the oracles
  twinpath up                        PostgreSQL, Kafka, Connect, connector and both agents
  twinpath up --with airflow,spark-stream    also the batch side's DAGs, and the Spark stream
  twinpath load --rate 200 --duration 30
  twinpath watch                     both sides race on the same stream, live
  twinpath follow --next             the next alert's payment, hop by hop, on every path
  twinpath alerts --follow           alerts as they are stored
  twinpath changes --from-beginning  each INSERT, UPDATE and DELETE as it leaves the log
  twinpath doctor                    the first broken hop, and its mend
  twinpath advise --rate 1000 --rows 1000000 --freshness 10    batch or CDC for such a load
  twinpath down                      stop everything; `up` goes on where it stood
"""
app = typer.Typer(
    name="twinpath",
    help="One PostgreSQL table, three ways to a fraud alert, compared by measurement.",
    epilog=EXAMPLES.replace("\n", "\n\n"),
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Rate = Annotated[int | None, typer.Option(help="Rows per second (RATE, default 500).")]
Duration = Annotated[float | None, typer.Option(help="Length of the load in seconds (DURATION, default 60).")]
Seed = Annotated[int | None, typer.Option(help="Seed of the workload (SEED, default 7).")]
Profile = Annotated[str | None, typer.Option(help="labelled or uniform (PROFILE, default labelled).")]


def reader_may_leave(command: Callable[..., None]) -> Callable[..., None]:
    """A reader of our output that goes away (`| head`) is no error: the command just ends."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return wrapped


@app.command()
@reader_may_leave
def up(
    beside: Annotated[list[str] | None, typer.Option("--with", help="Also start these: airflow, spark-stream.")] = None,
    quiet: Quiet = False,
) -> None:
    """Start PostgreSQL, Kafka, Connect, the connector and both agents; safe to run again."""
    from lab.stack.stack import standard_stack

    wanted = {name for given in beside or [] for name in given.split(",")}
    if wanted - {"airflow", "spark-stream"}:
        raise ConfigurationError(f"--with: found {', '.join(sorted(wanted))}, wanted airflow or spark-stream")
    stack = standard_stack(progress := Progress(quiet=quiet))
    stack.up(with_airflow="airflow" in wanted, with_spark_stream="spark-stream" in wanted)
    progress.say("up. Next: twinpath load, twinpath alerts --follow, twinpath status; twinpath env has the DSNs")


@app.command()
@reader_may_leave
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Also remove data, topics, state and passwords.")] = False,
    quiet: Quiet = False,
) -> None:
    """Stop everything that `up` started. Everything is kept, unless --purge removes it."""
    from lab.stack.stack import standard_stack
    from lab.stack.sweep import sweep_private

    progress = Progress(quiet=quiet)
    sweep_private(progress)
    stack = standard_stack(progress)
    if not stack.stop():
        progress.say("nothing was running")
    if purge:
        stack.home.remove()
        progress.say(f"removed {stack.home.path}: data, slot, topics, offsets, checkpoints, passwords, logs")


@app.command()
@reader_may_leave
def env(
    export: Annotated[bool, typer.Option("--export", help="Lines for a shell, passwords included.")] = False,
) -> None:
    """Where the passwords and DSNs are; --export for a subshell: ( eval "$(twinpath env --export)"; ... )."""
    from lab import environment
    from lab.stack.stack import standard_stack

    environment.show(standard_stack(Progress(quiet=True)), export=export)


@app.command()
@reader_may_leave
def alerts(
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new ones until Ctrl-C.")] = False,
    user: Annotated[int | None, typer.Option(help="Only this user_id.")] = None,
    all_versions: Annotated[bool, typer.Option("--all-versions", help=cli_store.ALL_VERSIONS)] = False,
    json: Json = False,
) -> None:
    """Show the alert log: every alert of the active versions, newest last."""
    from lab import watch_alerts
    from lab.stack.stack import standard_stack

    watch_alerts.show(
        standard_stack(Progress(quiet=True)), follow=follow, user=user, all_versions=all_versions, as_json=json
    )


@app.command()
@reader_may_leave
def changes(
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="From the start of the topic.")] = False,
    user: Annotated[int | None, typer.Option(help="Only this user_id.")] = None,
    json: Json = False,
) -> None:
    """Print each INSERT, UPDATE and DELETE as it leaves the log: before, after, position, age."""
    from lab import watch_changes
    from lab.stack.stack import standard_stack

    stack = standard_stack(Progress(quiet=True))
    watch_changes.show(stack.settings, from_beginning=from_beginning, user=user, as_json=json)


@app.command()
@reader_may_leave
def load(
    rate: Rate = None,
    duration: Duration = None,
    seed: Seed = None,
    profile: Profile = None,
    quiet: Quiet = False,
) -> None:
    """Write a seeded workload into mydb.transactions at a set rate; prints the run's folder."""
    from lab.load import load_into
    from lab.stack.stack import standard_stack

    stack = standard_stack(progress := Progress(quiet=quiet), rate=rate, duration=duration, seed=seed, profile=profile)
    sys.stdout.write(f"{load_into(stack, progress)}\n")


@app.command()
@reader_may_leave
def demo(
    rate: Rate = None,
    duration: Duration = None,
    seed: Seed = None,
    profile: Profile = None,
    kills: Annotated[bool, typer.Option(help="Kill an agent and Connect in mid-load.")] = True,
    batch: Annotated[bool, typer.Option(help="Airflow with the batch path and the temperatures beside it.")] = True,
    spark_stream: Annotated[bool, typer.Option(help="The Spark stream on the same topic.")] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what the run made on the running stack.")] = False,
    quiet: Quiet = False,
) -> None:
    """Load, kill, fence, compare with the oracle; the last line is the path of the report."""
    from lab.demo import demo as run_demo

    options = {"rate": rate, "duration": duration, "seed": seed, "profile": profile}
    path, passed = run_demo(Progress(quiet=quiet), kills=kills, batch=batch, stream=spark_stream, keep=keep, **options)
    sys.stdout.write(f"{path}\n")
    raise typer.Exit(0 if passed else 1)


status = app.command()(reader_may_leave(cli_doctor.status))
doctor = app.command()(reader_may_leave(cli_doctor.doctor))
watch = app.command()(reader_may_leave(cli_live.watch))
follow = app.command()(reader_may_leave(cli_live.follow))
compare = app.command()(reader_may_leave(cli_compare.compare))
rules = app.command()(reader_may_leave(cli_store.rules))
rebuild = app.command()(reader_may_leave(cli_store.rebuild))
resync = app.command()(reader_may_leave(cli_store.resync))
dead_letters = app.command("dead-letters")(reader_may_leave(cli_store.dead_letters))
prune = app.command()(reader_may_leave(cli_store.prune))
bench = cli_bench.group(app, reader_may_leave)
experiment = cli_experiment.group(app, reader_may_leave)
advise = app.command()(reader_may_leave(cli_advise.advise))
report = app.command()(reader_may_leave(cli_report.report))
compare_runs = app.command("compare-runs")(reader_may_leave(cli_report.compare_runs))
lab_check = app.command("lab-check")(reader_may_leave(cli_report.lab_check))
drill = app.command()(reader_may_leave(cli_drill.drill))
simulate = app.command()(reader_may_leave(cli_simulate.simulate))
check_source = app.command("check-source")(reader_may_leave(cli_source.check_source))


def run() -> int:
    """Run a command and map what goes wrong to an exit status and one message."""
    try:
        app()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    except TwinpathError as error:
        sys.stderr.write(f"twinpath: {error}\n")
        if os.environ.get("TWINPATH_VERBOSE"):
            raise
        return error.exit_status
    except psycopg2.Error as error:
        sys.stderr.write(f"twinpath: PostgreSQL: {first_line(error)}\n")
        return 4
    except OSError as error:  # a full disk, a folder that may not be written, too many open files
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"twinpath: {where}{error.strerror or error}. TWINPATH_VERBOSE=1 shows where it happened\n")
        if os.environ.get("TWINPATH_VERBOSE"):
            raise
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def main() -> None:
    """Entry point of the `twinpath` command."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it logs every refused connection while we wait
    _keep_loopback_from_proxies()
    for line in env_typos.warnings(os.environ, ROOT / ".env"):
        sys.stderr.write(f"twinpath: {line}\n")
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupt)
    sys.exit(run())


def _keep_loopback_from_proxies() -> None:
    """A proxy of the environment is for other machines: neither we nor what we start reach our own services by it."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join([*([given] if given else []), LOOPBACK, "localhost"])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
