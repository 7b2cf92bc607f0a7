import QMP
import Testing

private let greeting = Greeting(version: Greeting.Version(major: 7, minor: 2, micro: 0, package: "test"))

private func negotiated(_ arguments: String = "") -> ServerSession {
    var session = ServerSession(greeting: greeting)
    let line = #"{"execute":"qmp_capabilities"\#(arguments)}"#
    #expect(session.receive(Array(line.utf8)) == [.reply(Reply(.success(.nothing)))])
    return session
}

private func answer(_ text: String, _ session: inout ServerSession) -> QMPValue? {
    guard case .reply(let reply)? = session.receive(Array(text.utf8)).first else { return nil }
    return reply.value
}

private func failure(_ description: String, _ errorClass: QMPError.Class = .genericError) -> QMPValue {
    Reply(.failure(QMPError(errorClass, description))).value
}

@Suite("A server's session") struct ServerSessionTests {
    @Test func `begins with the greeting`() throws {
        let line = ServerSession(greeting: greeting).greetingLine
        #expect(
            String(decoding: line, as: UTF8.self)
                == #"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": "test"}, "#
                + #""capabilities": ["oob"]}}"# + "\r\n")
    }

    @Test func `knows no command before the negotiation`() {
        var session = ServerSession(greeting: greeting)
        let expected = failure("Expecting capabilities negotiation with 'qmp_capabilities'", .commandNotFound)
        #expect(answer(#"{"execute":"query-status"}"#, &session) == expected)
        #expect(!session.hasNegotiated)
        #expect(answer(#"{"execute":"qmp_capabilities","id":[1]}"#, &session) == ["return": [:], "id": [1]])
        #expect(session.hasNegotiated)
        #expect(session.receive(Array(#"{"execute":"query-status"}"#.utf8)) == [.execute(Command("query-status"))])
    }

    @Test func `negotiates once`() {
        var session = negotiated()
        #expect(
            answer(#"{"execute":"qmp_capabilities"}"#, &session)
                == failure("Capabilities negotiation is already complete, command ignored", .commandNotFound))
    }

    @Test(arguments: [
        (#"{"enable":["foo"]}"#, "Parameter 'null' does not accept value 'foo'"),
        (#"{"enable":"oob"}"#, "Invalid parameter type for 'enable', expected: array"),
        (#"{"zz":1}"#, "Parameter 'zz' is unexpected"),
    ])
    func `stays in the negotiation when it goes wrong`(arguments: String, reason: String) {
        var session = ServerSession(greeting: greeting)
        #expect(answer(#"{"execute":"qmp_capabilities","arguments":\#(arguments)}"#, &session) == failure(reason))
        #expect(!session.hasNegotiated)
    }

    @Test func `knows exec-oob only when negotiated`() {
        var without = negotiated()
        #expect(
            answer(#"{"exec-oob":"migrate-pause"}"#, &without)
                == failure("QMP input member 'exec-oob' is unexpected"))
        var with = negotiated(#","arguments":{"enable":["oob"]}"#)
        #expect(
            with.receive(Array(#"{"exec-oob":"migrate-pause","id":3}"#.utf8))
                == [.executeNow(Command("migrate-pause", id: 3, isOutOfBand: true))])
        #expect(
            answer(#"{"execute":"a","exec-oob":"b"}"#, &with)
                == failure("QMP input member 'exec-oob' clashes with 'execute'"))
    }

    @Test(arguments: [
        ("[]", "QMP input must be a JSON object"), (#""x""#, "QMP input must be a JSON object"),
        ("{}", "QMP input lacks member 'execute'"), (#"{"execute":5}"#, "QMP input member 'execute' must be a string"),
        (#"{"execute":"q","foo":1}"#, "QMP input member 'foo' is unexpected"),
        (#"{"execute":"q","arguments":[]}"#, "QMP input member 'arguments' must be an object"),
        (#"{"execute":"q","arguments":null}"#, "QMP input member 'arguments' must be an object"),
        (#"{"execute":bad}"#, "JSON parse error, invalid keyword 'bad'"),
    ])
    func `says what is wrong with a command`(text: String, reason: String) {
        var session = negotiated()
        #expect(answer(text, &session) == failure(reason))
    }

    @Test func `echoes any id, also with an error`() {
        var session = negotiated()
        #expect(answer(#"{"id":{"a":[1,2.5,"x",null,true]}}"#, &session)?["id"] == ["a": [1, 2.5, "x", nil, true]])
    }

    @Test(arguments: 0...104) func `waits for the rest of a command that is cut`(at length: Int) throws {
        let text =
            #"{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":18446744073709551615},"id":"\u00e9\n"}"#
        let bytes = Array(text.utf8)
        var session = negotiated()
        let first = session.receive(Array(bytes.prefix(length)))
        let second = session.receive(Array(bytes.dropFirst(length)))
        let whole = Command("migrate-set-parameters", ["max-bandwidth": .unsigned(.max)], id: "é\n")
        #expect(first + second == [.execute(whole)])
    }

    @Test func `stays usable after every single-bit change of a command`() {
        let bytes = Array(#"{"execute":"query-status","arguments":{"a":[1,{}]},"id":1.5e3}"#.utf8)
        for bit in 0..<bytes.count * 8 {
            var changed = bytes
            changed[bit / 8] ^= 1 << (bit % 8)
            exerciseQMP(changed)
        }
    }

    @Test(arguments: 0..<300) func `stays usable after random bytes`(seed: Int) {
        var random = SplitMix(state: UInt64(seed) &+ 1 << 32)
        let alphabet = Array(#"{}[]:,"'\ue09-+.tfn 12345abc"#.utf8) + [0, 1, 9, 10, 0x7F, 0x80, 0xC3, 0xFE, 0xFF]
        exerciseQMP((0..<400).map { _ in alphabet.randomElement(using: &random) ?? 0 })
    }
}

@Suite("A client's session") struct ClientSessionTests {
    private func ready() throws -> ClientSession {
        var client = ClientSession()
        #expect(try client.receive(ServerSession.line(greeting.value)) == [.greeting(greeting)])
        var server = ServerSession(greeting: greeting)
        let actions = server.receive(client.takeOutput())
        #expect(server.hasOutOfBand)
        guard case .reply(let reply)? = actions.first else { throw QMPError("the server did not answer") }
        #expect(try client.receive(ServerSession.line(reply.value)) == [.ready])
        return client
    }

    @Test func `negotiates, and pairs replies with commands when they overtake each other`() throws {
        var client = try ready()
        let first = client.send("query-migrate", [:])
        let second = client.send("migrate-pause", [:], isOutOfBand: true)
        let sent = String(decoding: client.takeOutput(), as: UTF8.self)
        #expect(
            sent == "{\"execute\": \"query-migrate\", \"id\": 2}\r\n{\"exec-oob\": \"migrate-pause\", \"id\": 3}\r\n")
        let received = #"{"error":{"class":"GenericError","desc":"no"},"id":3}{"return":{"status":"active"},"id":2}"#
        #expect(
            try client.receive(Array(received.utf8)) == [
                .reply(second, .failure(QMPError("no"))), .reply(first, .success(["status": "active"])),
            ])
    }

    @Test func `hands out events with their time`() throws {
        var client = try ready()
        let text = #"{"timestamp":{"seconds":5,"microseconds":6},"event":"STOP"}"#
        let time = Event.Timestamp(seconds: 5, microseconds: 6)
        #expect(try client.receive(Array(text.utf8)) == [.event(Event("STOP", at: time))])
    }

    @Test(arguments: ["{}", #"{"return":{},"id":99}"#, #"{"return":{}}"#, "[", "bad "].map { $0 + "\u{1}]" })
    func `gives up on a peer that is no QMP server`(text: String) throws {
        var client = try ready()
        #expect(throws: ClientSession.ProtocolError.self) { try client.receive(Array(text.utf8)) }
    }

    @Test func `gives up on a peer that does not greet`() {
        var client = ClientSession()
        #expect(throws: ClientSession.ProtocolError.self) { try client.receive(Array("{\"return\": {}}".utf8)) }
    }
}
