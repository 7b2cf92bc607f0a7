import Testing
import Transports

@Suite("Migration addresses") struct MigrationAddressTests {
    @Test(
        arguments: [
            ("tcp:host.example:4444", .tcp(host: "host.example", port: 4444, lastPort: 4444, family: .any)),
            ("tcp::0", .tcp(host: "", port: 0, lastPort: 0, family: .any)),
            ("tcp:0:4444", .tcp(host: "0", port: 4444, lastPort: 4444, family: .any)),
            ("tcp:[::1]:4444", .tcp(host: "::1", port: 4444, lastPort: 4444, family: .any)),
            ("tcp:localhost:4444,to=4460", .tcp(host: "localhost", port: 4444, lastPort: 4460, family: .any)),
            ("tcp:localhost:1,ipv4=on", .tcp(host: "localhost", port: 1, lastPort: 1, family: .ipv4)),
            ("tcp:localhost:1,ipv4=off", .tcp(host: "localhost", port: 1, lastPort: 1, family: .ipv6)),
            ("tcp:localhost:1,ipv6", .tcp(host: "localhost", port: 1, lastPort: 1, family: .ipv6)),
            ("unix:/run/a,b:c", .unix(path: "/run/a,b:c")),
            ("fd:mig", .descriptor("mig")),
            ("fd:17", .descriptor("17")),
            ("exec:gzip -c > /tmp/x", .exec(["/bin/sh", "-c", "gzip -c > /tmp/x"])),
            ("file:/tmp/a", .file(path: "/tmp/a", offset: 0)),
            ("file:/tmp/a,offset=0x1000", .file(path: "/tmp/a", offset: 4096)),
            ("file:/tmp/a,offset=1M", .file(path: "/tmp/a", offset: 1 << 20)),
        ] as [(String, MigrationAddress)])
    func `are read as QEMU reads them`(text: String, address: MigrationAddress) throws {
        #expect(try MigrationAddress(parsing: text) == address)
    }

    @Test(arguments: [
        "", "tcp", "tcp:", "tcp:host", "tcp:host:", "tcp:host:port", "tcp:host:65536", "tcp:::1:4444", "tcp:[::1:4444",
        "tcp:host:4444,to=1", "tcp:host:4444,to=x", "tcp:host:1,ipv4=off,ipv6=off", "tcp:host:1,nodelay", "unix:",
        "fd:",
        "exec:", "file:", "file:,offset=1", "file:/a,offset=", "file:/a,offset=-1", "file:/a,offset=99999999999G",
        "ftp:host:1", "rdma:host:1",
    ])
    func `that are none are refused with a sentence that quotes them`(text: String) {
        let error = #expect(throws: MigrationAddress.ParseError.self) { try MigrationAddress(parsing: text) }
        #expect(error?.description.contains(text) == true && error?.description.hasSuffix(".") == true)
    }
}
