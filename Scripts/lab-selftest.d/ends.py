"""How a lab ends."""

import os
import pathlib
import signal
import subprocess
import sys
import time

from ground import check


def a_lab_that_dies_is_started_once_more_and_the_commands_status_returned(ground):
    process = ground.open("run", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    os.kill(ground.wait_for_emulator(), signal.SIGKILL)
    output, errors = process.communicate()
    check(process.returncode == 7, f"status {process.returncode}, not 7: {errors}")
    check(output == "out\n", f"the output is {output!r}")
    check("ended by itself" in errors and "trying once more" in errors and errors.endswith("err\n"), errors)
    ground.expect_nothing_left()


def a_command_past_its_limit_is_told_from_a_lab_that_hangs(ground):
    result = ground.run("run", "--timeout", "2", "--", "sh", "-c", "sleep 1000 & sleep 1000")
    check(result.returncode == 124, f"status {result.returncode}, not 124: {result.stderr}")
    check("still running at the limit of 2 s; the lab was alive" in result.stderr, result.stderr)
    ground.expect_nothing_left()


def a_lab_that_hangs_is_noticed_and_said(ground):
    process = ground.open("run", "--no-retry", "--", "sh", "-c", "echo up; sleep 1000", APUS_LAB_SILENCE="5")
    check(process.stdout.readline() == "up\n", "the command did not start")
    os.kill(ground.emulators()[0], signal.SIGSTOP)
    _, errors = process.communicate()
    check(process.returncode == 126, f"status {process.returncode}, not 126: {errors}")
    check("hangs: no sign of life for 5 s" in errors, errors)
    ground.expect_nothing_left()


def an_interrupted_lab_leaves_nothing_and_says_so(ground):
    process = ground.open("run", "--", "sh", "-c", "echo up; sleep 1000 & sleep 1000")
    check(process.stdout.readline() == "up\n", "the command did not start")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    check(process.returncode == 130, f"status {process.returncode}, not 130: {errors}")
    check("interrupted by SIGINT" in errors, errors)
    ground.expect_nothing_left()


def a_lab_that_is_interrupted_while_it_starts_leaves_nothing(ground):
    process = ground.open("start")
    ground.wait_for_emulator()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    check(process.returncode == 130, f"status {process.returncode}, not 130")
    check(output == "", f"the output is {output!r}")
    ground.expect_nothing_left()


def a_lab_whose_owner_ends_while_it_starts_leaves_nothing(ground):
    with subprocess.Popen(["sleep", "1000"]) as owner:
        process = ground.open("start", "--owner", str(owner.pid))
        ground.wait_for_emulator()
        owner.kill()
    output, _ = process.communicate()
    check(process.returncode != 0 and output == "", f"status {process.returncode}, output {output!r}")
    ground.expect_nothing_left()


def a_killed_lab_takes_its_hosts_along_and_the_next_one_sweeps_its_folder(ground):
    process = ground.open("run", "--", "true")
    ground.wait_for_emulator()
    process.kill()
    process.communicate()
    limit = time.monotonic() + 5
    while ground.processes() and time.monotonic() < limit:
        time.sleep(0.05)
    check(not ground.processes(), f"processes are left: {ground.processes()}")
    check(len(os.listdir(ground.folder)) == 1, "there is nothing to sweep: the test shows nothing")
    again = ground.open("run", "--", "true")
    ground.wait_for_emulator()
    again.send_signal(signal.SIGTERM)
    again.communicate()
    ground.expect_nothing_left()


def what_is_missing_is_said_in_one_line(ground):
    # Only what `env python3` needs, and no emulator.
    tools = pathlib.Path(ground.folder) / "tools"
    tools.mkdir()
    (tools / "python3").symlink_to(os.path.realpath(sys.executable))
    result = ground.run("run", "--", "true", PATH=str(tools))
    (tools / "python3").unlink()
    tools.rmdir()
    check(result.returncode == 125, f"status {result.returncode}, not 125: {result.stderr}")
    check(result.stderr == "lab: qemu-system-x86_64 is missing: apt-get install qemu-system-x86\n", result.stderr)


TESTS = [what_is_missing_is_said_in_one_line,
         a_lab_that_dies_is_started_once_more_and_the_commands_status_returned,
         a_command_past_its_limit_is_told_from_a_lab_that_hangs, a_lab_that_hangs_is_noticed_and_said,
         an_interrupted_lab_leaves_nothing_and_says_so, a_lab_that_is_interrupted_while_it_starts_leaves_nothing,
         a_lab_whose_owner_ends_while_it_starts_leaves_nothing,
         a_killed_lab_takes_its_hosts_along_and_the_next_one_sweeps_its_folder]
