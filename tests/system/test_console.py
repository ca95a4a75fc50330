import subprocess
import sys

from small_runs import ROOT


def test_a_reader_that_leaves_does_not_end_the_program():
    code = "import sys; from vae.system.console import Console\nconsole = Console()\n"
    code += "for number in range(50_000): console.say(str(number))\nprint('went on', file=sys.stderr)"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0 and err == "went on\n"
