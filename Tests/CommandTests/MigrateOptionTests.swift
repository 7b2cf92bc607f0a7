import Testing

/// What `apus migrate` refuses before it speaks to anybody.
@Suite("The options of apus migrate") struct MigrateOptionTests {
    /// Options and the sentence that they must bring.
    static let wrong: [([String], String)] = [
        (["--channels", "0"], "--channels 0: 1 to 255 are possible."),
        (["--downtime-limit", "2000001"], "--downtime-limit 2000001: 0 to 2000000 are possible."),
        (["--bandwidth", "fast"], "The value 'fast' is invalid for '--bandwidth <RATE>'"),
        (["--compress", "gzip"], "The value 'gzip' is invalid for '--compress <KIND>'"),
        (["--compress", "xbzrle", "--channels", "2"], "--compress xbzrle and --channels exclude one another"),
        (["--compress-level", "3"], "--compress-level belongs to --compress zstd or zlib."),
        (["--compress", "zlib", "--compress-level", "10"], "--compress-level 10: 0 to 9 are possible."),
        (["--xbzrle-cache", "64M"], "--xbzrle-cache belongs to --compress xbzrle."),
        (["--zero-copy"], "--zero-copy needs --channels, and no --compress."),
        (["--auto-converge", "--throttle", "stun"], "--auto-converge and --throttle stun exclude one another."),
        (["--auto-converge-initial", "10"], "belong to --auto-converge."),
        (
            ["--auto-converge", "--auto-converge-increment", "100"],
            "--auto-converge-increment 100: 1 to 99 are possible."
        ),
        (["--dirty-limit-rate", "10"], "--dirty-limit-rate belongs to --throttle dirty-limit."),
        (["--hybrid", "--postcopy"], "--hybrid decides by itself when post-copy begins"),
        (["--preempt"], "--preempt and --postcopy-bandwidth belong to --postcopy or --hybrid."),
        (["--timeout", "0"], "--timeout 0.0: more than 0 seconds are needed."),
        (["--timeout-cancel"], "--timeout-cancel needs --timeout SECONDS."),
        (["--timeout", "1", "--timeout-cancel", "--timeout-suspend"], "one is possible."),
        (["--listen", "tcp::1"], "--listen needs --destination-qmp"),
        (["--pass", "1"], "Descriptor 1 belongs to this program; pass one from 3 on."),
        (["--destination-qmp", "tcp:host:1"], "--destination-qmp tcp:host:1: only unix:PATH is possible."),
    ]

    @Test(arguments: wrong)
    func `are refused in one sentence, with status 64`(options: [String], sentence: String) throws {
        let result = try apus(["migrate", "--qmp", "unix:/nowhere", "tcp:host:1"] + options)
        #expect(result.status == 64)
        #expect(result.errors.contains(sentence), "\(result.errors)")
        #expect(result.output == "")
    }

    @Test func `leave status 2 and one line when nobody listens at the monitor's socket`() throws {
        let result = try apus("migrate", "--qmp", "unix:/nowhere/qmp", "tcp:host:1")
        #expect(result.status == 2)
        #expect(
            result.errors
                == "apus migrate: The source's monitor at /nowhere/qmp cannot be reached: "
                + "connect unix:/nowhere/qmp: No such file or directory.\n")
    }

    @Test func `name a report that cannot be written before anything starts`() throws {
        let result = try apus("migrate", "--qmp", "unix:/nowhere/qmp", "--report", "/nowhere/report", "tcp:host:1")
        #expect(result.status == 2)
        #expect(result.errors.hasPrefix("apus migrate: The report cannot be written: open /nowhere/report"))
    }
}
