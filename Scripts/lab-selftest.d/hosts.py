"""Two hosts: commands, files, the network and RDMA between them."""

import contextlib
import os
import pathlib
import subprocess
import time

from ground import LAB, check


def commands_run_on_each_host_with_their_status_output_and_input(hosts):
    result = hosts.on("b", "hostname; pwd; echo err >&2; exit 3")
    check((result.returncode, result.stdout) == (3, f"hostb\n{os.getcwd()}\n"), f"{result}")
    check(result.stderr == "err\n", result.stderr)
    answer = subprocess.run([LAB, "on", "a", "-i", "tr", "a-z", "A-Z"], input=b"x" * 300000, capture_output=True,
                            env=hosts.environment)
    check(answer.stdout == b"X" * 300000, f"{len(answer.stdout)} bytes came back, of 300000")
    check(hosts.on("c", "true").returncode == 125, "there is a host c")


def a_host_has_kvm_userfaultfd_huge_pages_rdma_bridge_and_tap(hosts):
    tests = ("-c /dev/kvm", "-c /dev/net/tun", "-c /dev/infiniband/rdma_cm", "-d /sys/class/net/br0/brif/tap0",
             "$(cat /proc/sys/vm/unprivileged_userfaultfd) = 1", "$(cat /sys/module/kvm_amd/parameters/npt) = N",
             "$(awk '/HugePages_Free/{print $2}' /proc/meminfo) -ge 64")
    for test in tests:
        check(hosts.on("a", f"test {test}").returncode == 0, f"not in a host: {test}")
    link = hosts.on("a", "rdma link").stdout
    check("rxe0/1 state ACTIVE" in link, f"the RDMA link: {link}")


def the_shared_folder_is_written_from_both_sides_and_nothing_else_is(hosts):
    shared = pathlib.Path(hosts.environment["APUS_LAB"]) / "shared"
    hosts.on("a", "echo from a >$APUS_LAB_SHARED/file; echo lost >/etc/apus-lab-selftest")
    check((shared / "file").read_text() == "from a\n", "the host's file is not here")
    (shared / "file").write_text("from here\n")
    check(hosts.on("b", "cat $APUS_LAB_SHARED/file").stdout == "from here\n", "the file from here is not in host b")
    check(not os.path.exists("/etc/apus-lab-selftest"), "a host wrote to this machine")


def the_network_is_delayed_cut_healed_and_unplugged(hosts):
    received, usual = hosts.ping()
    check(received == 3, f"{received} of 3 pings were answered")
    hosts.net("delay", "100")
    _, delayed = hosts.ping()
    check(delayed >= 200, f"a round trip of {delayed} ms with 100 ms each way (it was {usual} ms)")
    hosts.net("cut")
    check(hosts.ping()[0] == 0, "a ping went through a cut network")
    check(hosts.on("b", "cat /sys/class/net/eth0/carrier").stdout == "1\n", "a cut network took the carrier")
    hosts.net("heal")
    hosts.net("clear")
    check(hosts.ping()[0] == 3, "no answer after the network was healed")
    hosts.net("unplug")
    check(hosts.on("b", "cat /sys/class/net/eth0/carrier").stdout == "0\n", "host b has a carrier without a cable")
    hosts.net("plug")
    wrong = hosts.run("net", "delay", "much")
    check(wrong.returncode == 1 and "net takes" in wrong.stderr, f"{wrong}")


def the_network_is_limited(hosts):
    usual = seconds_to_send(hosts)
    hosts.net("limit", "16")
    limited = seconds_to_send(hosts)
    hosts.net("clear")
    # 8 MiB at 16 Mbit/s.
    check(limited > 4.1 and limited > 1.5 * usual, f"{limited:.1f} s through the limit, {usual:.1f} s without it")


RECEIVER = """import socket
server = socket.create_server(("", 5555))
print("up", flush=True)
connection, count = server.accept()[0], 0
while data := connection.recv(1 << 16):
    count += len(data)
connection.send(b"%d" % count)
"""
SENDER = """import socket, time
connection = socket.create_connection(("hostb", 5555))
started = time.monotonic()
connection.sendall(bytes(8 << 20))
connection.shutdown(socket.SHUT_WR)
print(connection.recv(100).decode(), time.monotonic() - started)
"""


def seconds_to_send(hosts):
    """8 MiB from host a until host b says that it has them, by host a's clock."""
    receiver = hosts.open("on", "b", "python3", "-c", RECEIVER)
    check(receiver.stdout.readline() == "up\n", "the receiver did not start")
    sent = hosts.run("on", "a", "python3", "-c", SENDER)
    receiver.communicate()
    check(sent.returncode == 0, f"nothing was sent: {sent}")
    count, seconds = sent.stdout.split()
    check(int(count) == 8 << 20, f"{count} bytes arrived")
    return float(seconds)


def an_abandoned_command_ends_in_its_host(hosts):
    process = hosts.open("on", "a", "sh", "-c", "echo up; sleep 54321 & sleep 54321")
    check(process.stdout.readline() == "up\n", "the command did not start")
    process.terminate()
    process.communicate()
    limit = time.monotonic() + 10
    while hosts.on("a", "pgrep -f 'sleep 5432[1]'").stdout and time.monotonic() < limit:
        time.sleep(0.2)
    check(not hosts.on("a", "pgrep -f 'sleep 5432[1]'").stdout, "the command is still there")


def rping_and_ib_write_bw_pass_between_two_hosts(hosts):
    with contextlib.closing(Background(hosts, "b", "exec rping -s -a 10.77.0.2 -C 5 -v")):
        result = until_it_works(hosts, "rping -c -a 10.77.0.2 -C 5 -v")
        check(result.stdout.count("ping data:") == 5, f"rping: {result}")
    with contextlib.closing(Background(hosts, "b", "exec ib_write_bw -d rxe0 -x 1 -n 200 -s 65536")):
        result = until_it_works(hosts, "ib_write_bw -d rxe0 -x 1 -n 200 -s 65536 10.77.0.2")
        rates = [line.split() for line in result.stdout.splitlines() if line.split()[:2] == ["65536", "200"]]
        check(rates and float(rates[0][3]) > 0, f"ib_write_bw: {result}")
        print(f"      ib_write_bw: {rates[0][3]} MB/s on average")


class Background:
    """A command in a host that ends with close()."""

    def __init__(self, hosts, host, command):
        self.process = hosts.open("on", host, "sh", "-c", command)

    def close(self):
        self.process.terminate()
        self.process.communicate()


def until_it_works(hosts, command):
    """The server needs a moment until it listens."""
    limit = time.monotonic() + 60
    while (result := hosts.on("a", f"timeout 40 {command}")).returncode != 0 and time.monotonic() < limit:
        time.sleep(0.5)
    return result


TESTS = [commands_run_on_each_host_with_their_status_output_and_input,
         a_host_has_kvm_userfaultfd_huge_pages_rdma_bridge_and_tap,
         the_shared_folder_is_written_from_both_sides_and_nothing_else_is,
         the_network_is_delayed_cut_healed_and_unplugged, the_network_is_limited,
         an_abandoned_command_ends_in_its_host]
RDMA_TESTS = [rping_and_ib_write_bw_pass_between_two_hosts]
