/// Runs hostile bytes through everything that reads them, and stops the program when a promise is broken.
///
/// The promises: no crash; the same result however the bytes are cut; what was read is read back equal after it was
/// written; a session stays usable. The entry for a fuzzer, which calls it with bytes of its own making.
public func exerciseQMP(_ bytes: [UInt8]) {
    var limits = QMPLimits()
    limits.textByteCount = 4096
    limits.tokenCount = 512
    limits.nestingDepth = 32

    var whole = TextReader(limits: limits)
    let texts = whole.receive(bytes) + whole.finish()
    var cut = TextReader(limits: limits)
    var cutTexts: [Result<QMPValue, QMPError>] = []
    for byte in bytes { cutTexts += cut.receive([byte]) }
    cutTexts += cut.finish()
    precondition(texts == cutTexts, "the bytes read differently when cut: \(texts) and \(cutTexts)")

    for case .success(let value) in texts {
        let again = try? QMPValue(parsing: value.text)
        precondition(again == value, "\(value) was written and read back as \(String(describing: again))")
    }

    let greeting = Greeting(version: Greeting.Version(major: 7, minor: 2, micro: 0, package: ""))
    var server = ServerSession(greeting: greeting, limits: limits)
    _ = server.receive(bytes)
    // A control character brings any reader back to the start.
    _ = server.receive([0x0A, 0x01, 0x0A])
    let wasNegotiated = server.hasNegotiated
    let actions = server.receive(Array(#"{"execute": "qmp_capabilities", "id": 7}"#.utf8))
    precondition(actions.count == 1 && server.hasNegotiated, "the session is stuck: \(actions)")
    if case .reply(let reply) = actions[0], !wasNegotiated {
        precondition(reply == Reply(.success(.nothing), id: 7), "the session answered \(reply)")
    }

    var client = ClientSession()
    _ = try? client.receive(ServerSession.line(greeting.value))
    _ = try? client.receive(bytes)
}
