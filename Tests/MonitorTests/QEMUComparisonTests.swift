import LinuxSystem
import QMP
import QMPClient
import Testing

/// The same bytes to a real QEMU 7.2 and to this server: the same answers, text by text.
@Suite(
    "Beside a real QEMU the QMP server", .serialized, .timeLimit(.minutes(5)),
    .enabled(if: RealQEMU.isInstalled, "qemu-system-x86_64 is not installed"))
struct QEMUComparisonTests {
    private func compare(_ dialogues: [Dialogue], pieceSize: Int = .max) async throws {
        let (qemu, monitor) = (try RealQEMU(), try TestMonitor())
        for dialogue in dialogues {
            let expected = try await dialogue.answers(at: qemu.path)
            let answers = try await dialogue.answers(at: monitor.path, pieceSize: pieceSize)
            #expect(answers == expected, "to \(dialogue.testDescription)")
        }
    }

    @Test func `greets in the same shape`() async throws {
        let (qemu, monitor) = (try RealQEMU(), try TestMonitor())
        for path in [qemu.path, monitor.path] {
            let client = RawClient(try Socket(connectingTo: .unix(path: path)))
            let greeting = try #require(try await client.line()?["QMP"]?.objectValue)
            #expect(Set(greeting.members.map(\.name)) == ["version", "capabilities"])
            #expect(greeting["capabilities"] == ["oob"])
            #expect(greeting["version"]?["qemu"]?["major"]?.integerValue == 7)
            #expect(greeting["version"]?["package"]?.stringValue != nil)
            client.shutDown()
        }
    }

    @Test func `negotiates alike`() async throws {
        let texts = [
            #"{"execute":"query-status"}"#, #"{"execute":"nope"}"#, #"{"execute":"query-status","foo":1}"#, "bad ",
            "{]",
            #"{"execute":"qmp_capabilities","arguments":{"enable":["oob"]},"id":1}{"execute":"query-status","id":2}"#,
            #"{"execute":"qmp_capabilities","arguments":{"enable":["foo"]}}"#,
            #"{"execute":"qmp_capabilities","arguments":{"enable":"oob"}}"#,
            #"{"execute":"qmp_capabilities","arguments":{"enable":[5]}}"#,
            #"{"execute":"qmp_capabilities","arguments":{"zz":1}}"#, #"{"exec-oob":"qmp_capabilities"}"#,
        ]
        try await compare(texts.map { Dialogue($0, negotiates: false) })
    }

    @Test func `answers out of band alike, in whatever order`() async throws {
        let (qemu, monitor) = (try RealQEMU(), try TestMonitor())
        var answers: [[String]] = []
        for path in [qemu.path, monitor.path] {
            let client = RawClient(try Socket(connectingTo: .unix(path: path)))
            _ = try await client.line()
            try await client.send(
                #"{"execute":"qmp_capabilities","arguments":{"enable":["oob"]},"id":1}"#
                    + #"{"exec-oob":"query-status","id":2}{"exec-oob":"migrate-pause","id":3}"#
                    + #"{"exec-oob":"nope","id":4}{"exec-oob":"qmp_capabilities","id":5}"#
                    + #"{"execute":"query-status","exec-oob":"query-status","id":6}{"execute":"query-status","id":7}"#)
            let lines = try await client.lines(7)
            #expect(lines[0] == ["return": [:], "id": 1])
            answers.append(lines.compactMap { line in line.flatMap { Reply(reading: $0)?.value.text } }.sorted())
            client.shutDown()
        }
        // Which of two members is the one too many depends on QEMU's hash.
        let clash = "clashes with"
        #expect(answers[0].filter { !$0.contains(clash) } == answers[1].filter { !$0.contains(clash) })
        #expect(answers.allSatisfy { $0.count == 7 && $0.filter { $0.contains(clash) }.count == 1 })
    }

    @Test(arguments: [Int.max, 1]) func `reads commands alike, right and wrong`(pieceSize: Int) async throws {
        try await compare(Self.commands.map { Dialogue($0) }, pieceSize: pieceSize)
    }

    @Test func `reads JSON alike, right and wrong`() async throws {
        let texts = Self.jsonTexts.map { Dialogue($0) }
        let ids = Self.ids.map { Dialogue(bytes: Array(#"{"execute":"query-status","id":"#.utf8) + $0 + [0x7D]) }
        let deep = String(repeating: "[", count: 1023) + String(repeating: "]", count: 1023)
        let nested = [Dialogue(#"{"execute":"query-status","id":\#(deep)}"#), Dialogue(#"{"id":[\#(deep)]}"#)]
        try await compare(texts + ids + nested)
    }

    @Test func `changes the state alike`() async throws {
        let names = [
            "query-status", "stop", "cont", "cont", "stop", "stop", "query-status", "system_reset", "query-status",
            "cont",
            "system_reset", "query-status", "system_powerdown", "stop", "query-status", "query-uuid", "query-block",
        ]
        try await compare(names.map { Dialogue(#"{"execute":"\#($0)"}"#) })
    }

    @Test func `takes migration parameters alike`() async throws {
        var texts: [String] = []
        for parameter in MigrationParameter.ofQEMU72 where parameter != .blockBitmapMapping {
            for value in [
                "-1", "0", "1", "255", "256", "5000", "2000000001", "99999999999", "1.5", "\"a\"", "null", "true",
            ] {
                // Texts are taken by QEMU as they are, and so change what is asked for next.
                let isText = parameter.rawValue.hasPrefix("tls-")
                if isText && value == "\"a\"" { continue }
                // QEMU 7.2 takes any byte for these two, though it has a text for the range.
                if [.multifdZlibLevel, .multifdZstdLevel].contains(parameter) && value == "255" { continue }
                texts.append(
                    #"{"execute":"migrate-set-parameters","arguments":{"\#(parameter.rawValue)":\#(value)}}"#)
            }
        }
        texts += [
            #"{"execute":"migrate-set-parameters","arguments":{"foo":1}}"#,
            #"{"execute":"migrate-set-parameters","arguments":{"max-cpu-throttle":60,"cpu-throttle-initial":70}}"#,
            #"{"execute":"migrate-set-parameters","arguments":{"multifd-compression":"zstd","multifd-channels":4}}"#,
            #"{"execute":"migrate-set-parameters","arguments":{"tls-hostname":"h","max-bandwidth":18446744073709551615}}"#,
            #"{"execute":"query-migrate-parameters"}"#,
        ]
        try await compare(texts.map { Dialogue($0) })
    }

    @Test func `takes migration capabilities alike`() async throws {
        let sets: [[(String, Bool)]] = [
            [("multifd", true), ("compress", true)], [("multifd", true)], [("compress", true)],
            [("postcopy-ram", true), ("x-ignore-shared", true)], [("postcopy-preempt", true)],
            [("background-snapshot", true)], [("multifd", false), ("background-snapshot", true)], [("xbzrle", true)],
            [("postcopy-ram", true)], [("background-snapshot", false)], [("postcopy-ram", true)],
            [("postcopy-preempt", true), ("events", true)], [("postcopy-ram", false)], [("nope", true)],
        ]
        var texts = sets.map { set in
            let entries = set.map { #"{"capability":"\#($0.0)","state":\#($0.1)}"# }.joined(separator: ",")
            return #"{"execute":"migrate-set-capabilities","arguments":{"capabilities":[\#(entries)]}}"#
        }
        texts.append(#"{"execute":"query-migrate-capabilities"}"#)
        try await compare(texts.map { Dialogue($0) })
    }
}

extension QEMUComparisonTests {
    private static let commands = [
        #"{"execute":"qmp_capabilities"}"#, #"{"execute":"nope","id":{"a":[1,2.5,"x",null,true]}}"#,
        #"{"exec-oob":"query-status"}"#, #"{"execute":"migrate"}"#, #"{"execute":"query-migrate"}"#,
        #"{"execute":"migrate","arguments":{"uri":"fd:x","zz":1}}"#, #"{"execute":"migrate","arguments":{"uri":5}}"#,

        #"{"execute":"migrate","arguments":[]}"#, #"{"execute":"migrate","arguments":5}"#, #"{"execute":5}"#,
        #"{"execute":"query-status","foo":1}"#, #"{"id":1}"#, "{}", "[]", "5 ", #""x""#, "null ", "true ", "bad ",
        #"{"execute":"query-status","arguments":{"x":1}}"#, #"{"execute":"query-status","arguments":{}}"#,
        #"{"execute":"query-status","arguments":null}"#, "{'execute':'query-status','id':'a\\'b\"c'}",
        #"{"execute":"query-status"}{"execute":"query-status","id":2}"#,
        #"{"execute":"query-status"} 5 {"execute":"query-status","id":3}"#, #"{"execute":"query-sta"#,
        #"{"execute":"query-status","id":1,"id":2}"#, #"{"execute":"getfd","arguments":{"fdname":"a"}}"#,
        #"{"execute":"getfd"}"#, #"{"execute":"getfd","arguments":{"fdname":null}}"#, #"{"execute":"closefd"}"#,
        #"{"execute":"closefd","arguments":{"fdname":"a"}}"#, #"{"execute":"add-fd"}"#,
        #"{"execute":"add-fd","arguments":{"fdset-id":"a"}}"#, #"{"execute":"add-fd","arguments":{"opaque":1}}"#,
        #"{"execute":"remove-fd","arguments":{"fdset-id":3}}"#, #"{"execute":"remove-fd"}"#,
        #"{"execute":"remove-fd","arguments":{"fdset-id":3,"fd":4}}"#, #"{"execute":"query-fdsets"}"#,
        #"{"execute":"migrate-set-capabilities"}"#,
        #"{"execute":"migrate-set-capabilities","arguments":{"capabilities":5}}"#,
        #"{"execute":"migrate-set-capabilities","arguments":{"capabilities":[5]}}"#,
        #"{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{}]}}"#,
        #"{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"events","state":1}]}}"#,
        #"{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"events"}]}}"#,
        #"{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":5,"state":true}]}}"#,
        #"{"execute":"migrate-set-capabilities","arguments":"#
            + #"{"capabilities":[{"capability":"events","state":true,"z":1}]}}"#,
        #"{"execute":"migrate-incoming","arguments":{"uri":"tcp:0:0"}}"#, #"{"execute":"migrate-incoming"}"#,
        #"{"execute":"migrate_cancel"}"#, #"{"execute":"migrate-continue"}"#,
        #"{"execute":"migrate-continue","arguments":{"state":"pre-switchover"}}"#,
        #"{"execute":"migrate-continue","arguments":{"state":"foo"}}"#, #"{"execute":"migrate-start-postcopy"}"#,
        #"{"execute":"migrate-pause"}"#, #"{"execute":"migrate-recover","arguments":{"uri":"tcp:0:0"}}"#,
        #"{"execute":"migrate","arguments":{"uri":"tcp:0:1","resume":true}}"#, #"{"execute":"query-target"}"#,
        // A migration that could not start leaves the state "failed" in QEMU, so it comes last.
        #"{"execute":"migrate","arguments":{"uri":"foo"}}"#,
    ]

    private static let jsonTexts = [
        "{bad}", #"{"execute":bad}"#, #"{"execute":"query-status",}"#, #"{"execute" "x"}"#, "}", "]", "{]", "[}",
        #"{"a":1]"#, #"{"a":[}"#, #"{"a":1,"a":2}"#, "{5:1}", #"{"a":}"#, "[1 2]", "[1,]", "[,1]", "{,}", "[",
        #"{"a" 1}"#, #"{"a":1 "b":2}"#, #"{"execute":"query-name"}]"#, "%", "#", "[[1,2],{}]", "@{}", "\u{2}{}",
        "{\"execute\":\"query-name\"}}\n{\"execute\":\"query-name\",\"id\":5}", "'", "\"", "'a\"\n{}", "\\", "-",
        "a-b ",
        "1 2 3 ", "{\"a\"\t:\r\n1}", "tRue ", "[nullnull]", "{\"\":{\"\":{}}}", "{'a':'b'}{\"a\":'b'}",
        "\t\t{]\t}\t{} ",
    ]

    private static let ids: [[UInt8]] =
        [
            "18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809", "1.0",
            "1e3",
            "0.1", "-0", "01", "1.", ".5", "+5", "1e", "-", "0e5", "-01", "0x5", "1E5", "1e+5", "1e-2", "1.5E1",
            "5\"x\"",
            "2.5.5", "12345678901234567890123", "9007199254740993", "0.30000000000000004", "5e-324",
            #""\u0041\n\/\b\f\r\t\\\"""#, #""\ud800""#, #""\ud83d\ude00""#, #""\udc00x""#, #""\u0000""#, #""\x""#,
            #""\u12""#, #""\'""#, #""\uD83D\u0041""#, #""a\u00g0""#, #""\uFFFE""#, #""\ufdd0""#, #""\ud83d\u""#,
            #""\u""#,
            #""\"#, "\"é€😀\"", "\"a\nb\"", "\"a\u{1}b\"", "\"\u{7F}\"", "truex", "nul", "%p", "[1,{\"b\":{}},[]]",
        ].map { Array($0.utf8) }
        + [
            [0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xC0, 0x80], [0x61, 0x00, 0x62],
            [0xEF, 0xBF, 0xBF], [0xE2, 0x82], [0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xF8, 0x88, 0x80, 0x80, 0x80],
            [0xF0, 0x9F, 0x98], [0xF0, 0x8F, 0xBF, 0xBF], [0xFE],
        ].map { [0x22] + $0 + [0x22] }
}
