import io
import re
import subprocess
import sys

from small_runs import ROOT

from vae.system.console import Console, Span
from vae.system.errors import tell

ANSI = re.compile(r"\033\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal_of_40_columns(monkeypatch):
    """A screen in place of stdout and stderr; not a fixture, since pytest sets both anew before each test."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


def test_a_reader_that_leaves_does_not_end_the_program():
    code = "import sys; from vae.system.console import Console; from vae.system.streams import outlive_screen\n"
    code += "outlive_screen()\nconsole = Console()\n"
    code += "for number in range(50_000): console.say(str(number))\nprint('went on', file=sys.stderr)"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0 and err == "went on\n"


def test_every_kind_of_line_fits_the_terminal_and_breaks_between_words(monkeypatch):
    terminal = terminal_of_40_columns(monkeypatch)
    words = "reconstructions.png, samples.png, tsne.png, loss_curves.png, latent_scatter.png"
    console = Console()
    console.say(words)
    console.table(f"done: {words}", [("pictures", words), ("a", "short")])
    console.warn(f"careful: {words}")
    tell(f"error: {words}")
    lines = ANSI.sub("", terminal.getvalue()).splitlines()
    assert max(map(len, lines)) <= 40
    pieces = [word for line in lines for word in line.replace("!", "").split()]
    whole = words.split()
    assert pieces == [*whole, "done:", *whole, "pictures", *whole, "a", "short", "careful:", *whole, "error:", *whole]
    below = [line for line in lines if line.startswith(" " * 12)]
    assert len(below) == 3, "a long value continues below itself"


def test_a_log_file_keeps_whole_lines_without_colour(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    line = "word " * 60 + "end"
    console = Console()
    console.say(line)
    console.table("title", [("name", line)])
    console.status("drawing pictures")
    assert capsys.readouterr().out == f"{line}\ntitle\n  name  {line}\ndrawing pictures ...\n"


def test_a_line_takes_the_fullest_form_that_fits(monkeypatch):
    terminal = terminal_of_40_columns(monkeypatch)
    Console().say_fitting([[Span("x" * length)] for length in (80, 41, 40, 30)])
    Console().say_fitting([[Span("y" * length)] for length in (80, 60)])
    assert terminal.getvalue() == "x" * 40 + "\n" + "y" * 60 + "\n"


def test_losses_stand_out_on_a_terminal_unless_no_color_is_set(monkeypatch):
    terminal = terminal_of_40_columns(monkeypatch)
    spans = [Span("test "), Span("148.02", "bold")]
    Console().say_fitting([spans])
    assert terminal.getvalue() == "test \033[1m148.02\033[0m\n"
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            Console().say_fitting([spans])
            assert terminal.getvalue().endswith("\ntest 148.02\n")


def test_control_characters_of_a_name_reach_no_terminal(monkeypatch):
    terminal = terminal_of_40_columns(monkeypatch)
    console, hostile = Console(), "\033]0;title\007"
    console.say(hostile)
    console.say_fitting([[Span(hostile, "bold")]])
    console.table(hostile, [(hostile, hostile)])
    console.warn(hostile)
    assert "\033]" not in terminal.getvalue() and "\007" not in terminal.getvalue()


def test_a_status_goes_away_with_the_next_line(monkeypatch):
    terminal = terminal_of_40_columns(monkeypatch)
    console = Console()
    console.status("drawing pictures")
    assert "drawing pictures ..." in terminal.getvalue()
    console.say("done")
    before, _, after = terminal.getvalue().partition("drawing pictures ...")
    assert before.strip() == "" and re.fullmatch(r"\r +\rdone\n", after)


def test_the_bar_says_what_its_percentage_is_of(monkeypatch):
    terminal = terminal_of_40_columns(monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    console = Console()
    console.start_bar(600, 150, title="epoch 2/4:", whole="the run")
    console.close_bar()
    assert "epoch 2/4:  25 % of the run |" in terminal.getvalue()
