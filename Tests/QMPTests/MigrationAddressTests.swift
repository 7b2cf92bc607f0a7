import QMP
import Testing

@Suite("Migration addresses") struct MigrationAddressTests {
    @Test(
        arguments: [
            ("tcp:host:4444", .tcp(host: "host", port: 4444, lastPort: nil, ipv4: nil, ipv6: nil)),
            ("tcp:[::1]:0,to=9,ipv6=on", .tcp(host: "::1", port: 0, lastPort: 9, ipv4: nil, ipv6: true)),
            ("tcp::4444,ipv4=off", .tcp(host: "", port: 4444, lastPort: nil, ipv4: false, ipv6: nil)),
            ("unix:/a:b", .unix(path: "/a:b")), ("fd:mig", .descriptor("mig")),
            ("exec:cat > /x", .command(["/bin/sh", "-c", "cat > /x"])),
            ("vsock:2:1234", .vsock(cid: "2", port: "1234")),
            ("rdma:192.0.2.1:4444", .rdma(host: "192.0.2.1", port: "4444")), ("file:/x", .file(path: "/x", offset: 0)),
            ("file:/x,offset=0x1000", .file(path: "/x", offset: 4096)),
            ("file:/x,y,offset=1M", .file(path: "/x,y", offset: 1 << 20)),
        ] as [(String, MigrationAddress)])
    func `are read from URIs`(uri: String, address: MigrationAddress) throws {
        #expect(try MigrationAddress(uri: uri) == address)
    }

    @Test(arguments: [
        ("foo", "Parameter 'uri' expects a valid migration protocol"),
        ("ftp:x", "Parameter 'uri' expects a valid migration protocol"), ("tcp:x", "error parsing address 'x'"),
        ("tcp:[::1:4", "error parsing address '[::1:4'"), ("tcp:::1:4", "error parsing address '::1:4'"),
        ("tcp:h:", "error parsing address 'h:'"), ("tcp:h:65536", "'65536' is no port (0 to 65535) in 'h:65536'"),
        ("tcp:h:1,zz=3", "Invalid parameter 'zz'"), ("file:/x,offset=1Q", "file URI has bad offset 1Q"),
        ("file:/x,offset=99999999999999T", "file URI has bad offset 99999999999999T"),
    ])
    func `that are none are refused`(uri: String, reason: String) {
        #expect(throws: QMPError(reason)) { try MigrationAddress(uri: uri) }
    }

    @Test(
        arguments: [
            (["transport": "exec", "args": ["a", "b"]], .command(["a", "b"])),
            (["transport": "file", "filename": "/x", "offset": 5], .file(path: "/x", offset: 5)),
            (["transport": "socket", "type": "fd", "str": "7"], .descriptor("7")),
            (["transport": "rdma", "host": "h", "port": "1"], .rdma(host: "h", port: "1")),
        ] as [(QMPValue, MigrationAddress)])
    func `are read from channels`(value: QMPValue, address: MigrationAddress) throws {
        var arguments = Arguments(["channels": [["channel-type": "main", "addr": value]]])
        #expect(try MigrationAddress(taking: &arguments) == address)
        try arguments.finish()
    }

    @Test(
        arguments: [
            ([:], "Parameter 'uri' is missing"), (["channels": []], "Channel list must have one entry, not 0"),
            (["channels": [["channel-type": "main"]]], "Parameter 'channels[0].addr' is missing"),
            (
                ["channels": [["channel-type": "main", "addr": ["transport": "socket"]]]],
                "Parameter 'channels[0].addr.type' is missing"
            ),
            (
                [
                    "channels": [
                        ["channel-type": "main", "addr": ["transport": "rdma", "host": "h", "port": "1", "x": 1]]
                    ]
                ],
                "Parameter 'channels[0].addr.x' is unexpected"
            ),
            (
                ["channels": [], "uri": "fd:1"],
                "'uri' and 'channels' arguments are mutually exclusive; exactly one of the two should be present"
            ),
        ] as [(QMPObject, String)])
    func `that are no channels are refused`(object: QMPObject, reason: String) {
        var arguments = Arguments(object)
        #expect(throws: QMPError(reason)) { try MigrationAddress(taking: &arguments) }
    }
}
