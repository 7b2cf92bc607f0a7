"""Linux under `apus run` in a lab host: boots, ends, and is saved and loaded."""

import os
import shlex
import sys
import time

from ground import SCRIPTS, check

sys.path.insert(1, str(SCRIPTS / "trial.d"))
sys.path.insert(1, str(SCRIPTS / "lab.d"))

import migration  # noqa: E402
import monitor  # noqa: E402
import places  # noqa: E402
import settings  # noqa: E402
import watcher  # noqa: E402

SMALL = ["--at", "a", "--monitor", "apus", "--memory", "128", "--work", "8", "--rate", "5", "--hops", "precopy:a"]


class Journey:
    """A trial driven step by step; a failure of the trial is the test's."""

    def __init__(self, hosts, *words):
        os.environ["APUS_LAB"] = hosts.environment["APUS_LAB"]
        self.options = settings.parser().parse_args([*SMALL, *words])
        self.options.hops = settings.hops_of(self.options)

    def __enter__(self):
        self.places = places.Places()
        self.trial = migration.Trial(self.options, settings.guest_files(), self.places)
        self.trial.__enter__()
        return self.trial

    def __exit__(self, kind, error, _):
        self.trial.__exit__()
        self.places.__exit__()
        if isinstance(error, monitor.Failed):
            raise AssertionError(str(error)) from None


def booted(trial):
    guest = trial.add_monitor("a", "apus")
    trial.boot(guest)
    print(f"      {trial.options.kernel} on {trial.options.cpus}: first line after {trial.result['first_line_s']} s, "
          f"clock {trial.result['clock']}")
    return guest


def new_disk(hosts):
    path = f"{hosts.environment['APUS_LAB']}/shared/guests.raw"
    with open(path, "wb") as file:
        file.truncate(16 << 20)
    return path


def expect_reset(trial, guest, cause):
    """The guest starts from its first instruction again, and its workload, too."""
    data = guest.qmp.wait_for_event("RESET", 60)
    check(data == {"guest": cause.startswith("guest"), "reason": cause}, f"RESET says {data}")
    guest.wait_for("the workload's first line again", r"^workload: start", migration.BOOT_LIMIT, count=2)
    guest.wait_for("the workload at work again", r"^workload: t=.* dirtied=[1-9]", migration.BOOT_LIMIT,
                   count=len(guest.reports()) + 1)
    check(guest.qmp.command("query-status")["status"] == "running", "the guest does not run after its reset")


def expect_power_off(trial, guest, count=1):
    """The workload's checks are clean and the guest switches itself off: an event, and status 0."""
    trial.check_end(guest, count)
    data = guest.qmp.wait_for_event("SHUTDOWN", 60)
    check(data == {"guest": True, "reason": "guest-shutdown"}, f"SHUTDOWN says {data}")
    guest.expect_end(60)


def an_elf_kernel_on_one_cpu_uses_disk_and_network_reboots_and_powers_off(hosts):
    words = ["--cpus", "1", "--network", "10.77.0.50", "--disk", new_disk(hosts)]
    with Journey(hosts, *words) as trial:
        guest = booted(trial)
        received = hosts.on("a", "ping -c 5 -i 0.2 -W 10 10.77.0.50").stdout
        check(" 5 received" in received, received)
        with watcher.Watchers(trial.options, guest.place, "boot") as watchers:
            lines = len(guest.reports())
            guest.wait_for("reports", monitor.REPORT, 60, count=lines + 3)
            seen = watchers.results()
        print(f"      network: {seen}")
        check(seen["stream"]["lines"] > 20 and seen["ping"]["sent"] > seen["ping"]["lost"], f"the network: {seen}")
        report = guest.reports()[-1][1]
        check(report["disk_written"] > 32 and report["disk_checked"] > 0, f"the disk: {report}")
        guest.type("reboot")
        expect_reset(trial, guest, "guest-reset")
        guest.type("poweroff")
        expect_power_off(trial, guest, count=2)
    written = os.stat(trial.options.disk).st_blocks * 512
    check(written > 1 << 20, f"{written} bytes have reached the image")


def an_elf_kernel_on_two_cpus_ends_when_its_power_button_is_pressed(hosts):
    with Journey(hosts, "--cpus", "2") as trial:
        guest = booted(trial)
        guest.qmp.command("system_powerdown")
        guest.qmp.wait_for_event("POWERDOWN", 60)
        guest.wait_for("the button", r"^workload: power button", 60)
        expect_power_off(trial, guest)


def an_elf_kernel_boots_on_four_cpus(hosts):
    with Journey(hosts, "--cpus", "4") as trial:
        trial.end(booted(trial))


def a_bzimage_boots_on_one_cpu(hosts):
    with Journey(hosts, "--cpus", "1", "--kernel", "kernel") as trial:
        trial.end(booted(trial))


def a_bzimage_on_two_cpus_resets_itself_by_acpi(hosts):
    # Later than the reboot=t of all guests, which makes the processor shut down.
    with Journey(hosts, "--cpus", "2", "--kernel", "kernel", "--append", "reboot=acpi") as trial:
        guest = booted(trial)
        guest.type("reboot")
        expect_reset(trial, guest, "guest-reset")
        guest.type("poweroff")
        expect_power_off(trial, guest, count=2)


def a_bzimage_on_four_cpus_is_reset_from_outside(hosts):
    with Journey(hosts, "--cpus", "4", "--kernel", "kernel") as trial:
        guest = booted(trial)
        guest.qmp.command("system_reset")
        expect_reset(trial, guest, "host-qmp-system-reset")
        guest.type("poweroff")
        expect_power_off(trial, guest)


NULL_DISK = """
set -e
modprobe null_blk nr_devices=0
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
mkdir /sys/kernel/config/nullb/nullb0
cd /sys/kernel/config/nullb/nullb0
echo 16 >size
echo 1 >memory_backed
echo 1 >power
"""
NULL_BAD_BLOCKS = "/sys/kernel/config/nullb/nullb0/badblocks"


class FailingDisks:
    """A file on a file system of 1 MiB, which gets full, and a block device whose sectors can go bad."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.full = self.done("mktemp -d /run/full.XXXXXX").strip()
        self.done(f"mount -t tmpfs -o size=1m none {self.full} && truncate -s 16M {self.full}/disk")
        self.done(NULL_DISK)
        self.paths = [f"{self.full}/disk", "/dev/nullb0"]

    def done(self, command):
        result = self.hosts.on("a", command)
        check(result.returncode == 0, f"{command}: {result.stderr or result.stdout}")
        return result.stdout

    def make_room(self):
        self.done(f"mount -o remount,size=32m {self.full}")

    def go_bad(self, is_bad):
        # All that the guest uses. Longer ranges than 512 sectors are taken, but not found again.
        sign = "+" if is_bad else "-"
        self.done(f"for n in $(seq 0 512 4095); do echo {sign}$n-$((n + 511)) >{NULL_BAD_BLOCKS}; done")

    def forget_cache(self):
        self.done("echo 3 >/proc/sys/vm/drop_caches")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hosts.on("a", f"umount {self.full}; rmdir /sys/kernel/config/nullb/nullb0")


def expect_disk_error(guest, count, device, operation, no_space, complaint):
    """The monitor tells of it, the guest's program gets EIO, and everything else goes on."""
    limit = time.monotonic() + 120
    while True:
        data = guest.qmp.wait_for_event("BLOCK_IO_ERROR", limit - time.monotonic(), count)
        count += 1
        if data["device"] == device and data["operation"] == operation:
            break
    check(data["nospace"] is no_space and data["action"] == "report" and data["reason"], f"BLOCK_IO_ERROR: {data}")
    guest.wait_for(f"a failed {complaint} in the guest", rf"^workload: BAD disk: .*{complaint} of block .* error 5$", 120)
    expect_work(guest)
    return count


def expect_work(guest):
    before = guest.reports()[-1][1]
    guest.wait_for("reports", monitor.REPORT, 120, count=len(guest.reports()) + 3)
    after = guest.reports()[-1][1]
    check(after["dirtied"] > before["dirtied"] and after["timers"] > before["timers"] and not after["bad"],
          f"the guest: {before}, then {after}")
    check(guest.qmp.command("query-status")["status"] == "running", "the guest does not run")
    return before, after


def expect_good_disks(guest):
    """No more errors, and both disks are written and checked; nothing that was written was lost."""
    limit = time.monotonic() + 120
    while True:
        before, after = expect_work(guest)
        if after["disk_errors"] == before["disk_errors"] and after["disk_checked"] > before["disk_checked"] + 16:
            break
        check(time.monotonic() < limit, f"the disks still fail: {after}")
    check(after["disk_bad"] == 0, f"the disk: {after}")


def a_guest_whose_disks_fail_sees_errors_and_goes_on(hosts):
    """Full, then unable to write what is in the host's cache, then unreadable; and each well again."""
    shared = f"{hosts.environment['APUS_LAB']}/shared"
    program = settings.parser().get_default("apus")
    with open(f"{shared}/apus-said", "w") as file:
        file.write(f'#!/bin/sh\nexec {shlex.quote(program)} "$@" 2>{shlex.quote(shared)}/complaints\n')
    os.chmod(file.name, 0o755)
    with FailingDisks(hosts) as disks:
        use_failing_disks(hosts, disks, file.name)
    with open(f"{shared}/complaints") as file:
        said = file.read().splitlines()
    check(len(said) == 2 and all(f"disk {path}: " in line for path, line in zip(disks.paths, said)), f"said: {said}")
    print("      " + "\n      ".join(said))


def use_failing_disks(hosts, disks, program):
    extra = " ".join(f"--disk {path}" for path in disks.paths)
    append = "workload.disk=/dev/vda,/dev/vdb workload.disk_area=2"
    with Journey(hosts, "--apus", program, "--apus-extra", extra, "--append", append) as trial:
        guest = booted(trial)
        count = expect_disk_error(guest, 1, "virtio0", "write", True, "write")
        disks.make_room()
        expect_good_disks(guest)
        disks.go_bad(True)
        count = expect_disk_error(guest, count, "virtio1", "write", False, "flush")
        disks.forget_cache()
        count = expect_disk_error(guest, count, "virtio1", "read", False, "read")
        disks.go_bad(False)
        expect_good_disks(guest)
        guest.type("poweroff")
        guest.expect_end(120)


def a_guest_at_work_is_saved_and_loaded_twenty_times_in_a_row(hosts):
    """Files and commands, each time into a new monitor; two CPUs, a disk, registers, clocks and timers at work."""
    hops = ",".join("saved/exec:a" if number % 4 == 3 else "saved/file:a" for number in range(20))
    started = time.monotonic()
    with Journey(hosts, "--cpus", "2", "--disk", new_disk(hosts), "--hops", hops, "--settle", "1") as trial:
        trial.run()
    hops = trial.result["hops"]
    check(len(hops) == 20, f"{len(hops)} times of 20")
    check(trial.result["registers"] == "avx", f"the guest holds {trial.result['registers']} registers only")
    saved, loaded, late = ([hop[key] for hop in hops] for key in ("total_ms", "load_s", "timer_late_ms"))
    print(f"      {time.monotonic() - started:.0f} s in all; saved in {median(saved)} ms, loaded in {median(loaded)} s; "
          f"latest timer {max(late)} ms, median {median(late)} ms; {trial.result['registers']} registers held "
          f"{trial.result['registers_held']} times, {trial.result['checked_blocks']} blocks checked")


def a_guest_of_a_qemu_comes_to_apus_and_goes_back(hosts):
    """Linux uses the LAPIC's deadline timer there, and interrupt controllers that the QEMU keeps itself."""
    words = ["--monitor", "qemu", "--machine", "microvm,ioapic2=off", "--cpus", "2", "--settle", "2", "--extra",
             "-global virtio-mmio.force-legacy=false -device virtio-rng-device",
             "--hops", "precopy:a:apus,precopy:a:qemu"]
    with Journey(hosts, *words) as trial:
        trial.run()
    check([hop["to"] for hop in trial.result["hops"]] == ["apus-at-hosta", "qemu-at-hosta"], str(trial.result["hops"]))


def median(values):
    return sorted(values)[len(values) // 2]


BOOTS = [an_elf_kernel_on_one_cpu_uses_disk_and_network_reboots_and_powers_off,
         an_elf_kernel_on_two_cpus_ends_when_its_power_button_is_pressed, an_elf_kernel_boots_on_four_cpus,
         a_bzimage_boots_on_one_cpu, a_bzimage_on_two_cpus_resets_itself_by_acpi,
         a_bzimage_on_four_cpus_is_reset_from_outside, a_guest_whose_disks_fail_sees_errors_and_goes_on]
QEMU = [a_guest_of_a_qemu_comes_to_apus_and_goes_back]
SAVES = [a_guest_at_work_is_saved_and_loaded_twenty_times_in_a_row]
