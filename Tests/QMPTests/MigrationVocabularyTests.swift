import QMP
import Testing

@Suite("Migration parameters") struct MigrationParametersTests {
    @Test func `have QEMU's defaults`() throws {
        let recorded = try QMPValue(
            parsing: """
                {"cpu-throttle-tailslow": false, "xbzrle-cache-size": 67108864, "cpu-throttle-initial": 20,
                "announce-max": 550, "decompress-threads": 2, "compress-threads": 8, "compress-level": 1,
                "multifd-channels": 2, "multifd-zstd-level": 1, "announce-initial": 50, "block-incremental": false,
                "compress-wait-thread": true, "downtime-limit": 300, "tls-authz": "", "multifd-compression": "none",
                "announce-rounds": 5, "announce-step": 100, "tls-creds": "", "multifd-zlib-level": 1,
                "max-cpu-throttle": 99, "max-postcopy-bandwidth": 0, "tls-hostname": "",
                "throttle-trigger-threshold": 50, "max-bandwidth": 134217728, "x-checkpoint-delay": 20000,
                "cpu-throttle-increment": 10}
                """)
        #expect(MigrationParameters().value(of: MigrationParameter.ofQEMU72) == recorded)
    }

    /// Recorded from QEMU 7.2.
    @Test(
        arguments: [
            ("announce-initial", -1, "Parameter 'announce_initial' expects a value between 0 and 100000"),
            ("announce-initial", 1.5, "Parameter 'announce-initial' expects uint64"),
            ("announce-max", "a", "Parameter 'announce-max' expects uint64"),
            ("announce-step", 0, "Parameter 'announce_step' expects a value between 0 and 10000"),
            ("compress-level", -1, "Parameter 'compress-level' expects uint8_t"),
            (
                "throttle-trigger-threshold", 0,
                "Parameter 'throttle_trigger_threshold' expects an integer in the range of 1 to 100"
            ),
            (
                "cpu-throttle-initial", 100,
                "Parameter 'cpu_throttle_initial' expects an integer in the range of 1 to 99"
            ),
            (
                "max-cpu-throttle", 19,
                "Parameter 'max_cpu_throttle' expects an integer in the range of cpu_throttle_initial to 99"
            ),
            (
                "downtime-limit", 2_000_001,
                "Parameter 'downtime_limit' expects an integer in the range of 0 to (2000 * 1000) ms"
            ),
            ("x-checkpoint-delay", 99_999_999_999, "Parameter 'x-checkpoint-delay' expects uint32_t"),
            ("multifd-channels", 0, "Parameter 'multifd_channels' expects a value between 1 and 255"),
            ("multifd-channels", 256, "Parameter 'multifd-channels' expects uint8_t"),
            (
                "xbzrle-cache-size", 5000,
                "Parameter 'xbzrle_cache_size' expects a power of two no less than the target page size"
            ),
            ("multifd-compression", "lz4", "Parameter 'multifd-compression' does not accept value 'lz4'"),
            ("multifd-compression", 5, "Invalid parameter type for 'multifd-compression', expected: string"),
            ("tls-creds", 5, "Invalid parameter type for 'tls-creds', expected: StrOrNull"),
            ("block-bitmap-mapping", 5, "Invalid parameter type for 'block-bitmap-mapping', expected: array"),
            ("compress-wait-thread", 1, "Invalid parameter type for 'compress-wait-thread', expected: boolean"),
            ("foo", 5, "Parameter 'foo' is unexpected"),
        ] as [(String, QMPValue, String)])
    func `are refused in QEMU's words`(name: String, value: QMPValue, reason: String) {
        var parameters = MigrationParameters()
        #expect(throws: QMPError(reason)) { try parameters.set(QMPObject([(name, value)])) }
        #expect(parameters == MigrationParameters())
    }

    @Test func `are set all or none`() throws {
        var parameters = MigrationParameters()
        #expect(throws: QMPError.self) { try parameters.set(["multifd-channels": 4, "downtime-limit": -1]) }
        #expect(parameters.multifdChannelCount == 2)
        try parameters.set(["multifd-channels": 4, "downtime-limit": 50, "max-bandwidth": .unsigned(.max)])
        #expect(parameters.multifdChannelCount == 4)
        #expect(parameters.downtimeLimit == .milliseconds(50))
        #expect(parameters.maximumBandwidth == .max)
    }

    @Test func `of a newer QEMU are unexpected where only the older ones are offered`() {
        var parameters = MigrationParameters()
        #expect(throws: QMPError("Parameter 'direct-io' is unexpected")) {
            try parameters.set(["direct-io": true], offered: MigrationParameter.ofQEMU72)
        }
    }
}

@Suite("Migration capabilities") struct MigrationCapabilitiesTests {
    private let all = Set(MigrationCapability.allCases)

    @Test func `are QEMU's, in its order`() {
        let names = MigrationCapability.ofQEMU72.map(\.rawValue)
        #expect(
            names == [
                "xbzrle", "rdma-pin-all", "auto-converge", "zero-blocks", "compress", "events", "postcopy-ram",
                "x-colo",
                "release-ram", "block", "return-path", "pause-before-switchover", "multifd", "dirty-bitmaps",
                "postcopy-blocktime", "late-block-activate", "x-ignore-shared", "validate-uuid", "background-snapshot",
                "zero-copy-send", "postcopy-preempt",
            ])
    }

    @Test(
        arguments: [
            ([.multifd, .compress], "Multifd is not compatible with compress"),
            ([.postcopyRAM, .ignoreShared], "Postcopy is not compatible with ignore-shared"),
            ([.postcopyPreempt], "Postcopy preempt requires postcopy-ram"),
            ([.zeroCopySend], "Zero copy only available for non-compressed non-TLS multifd migration"),
            ([.backgroundSnapshot, .multifd], "Background-snapshot is not compatible with multifd"),
            ([.switchoverAck], "Capability 'switchover-ack' requires capability 'return-path'"),
        ] as [([MigrationCapability], String)])
    func `that exclude each other are refused`(together: [MigrationCapability], reason: String) {
        var capabilities = MigrationCapabilities()
        #expect(throws: QMPError(reason)) { try capabilities.set(together.map { ($0, true) }, available: all) }
        #expect(capabilities.enabled.isEmpty)
    }

    @Test func `that a monitor lacks may be switched off but not on`() throws {
        var capabilities = MigrationCapabilities([.xbzrle])
        try capabilities.set([(.colo, false), (.multifd, true), (.xbzrle, false)], available: [.multifd])
        #expect(capabilities.enabled == [.multifd])
        #expect(throws: QMPError("Migration capability 'x-colo' is not available in this monitor")) {
            try capabilities.set([(.colo, true)], available: [.multifd])
        }
    }
}

@Suite("The answer to query-migrate") struct MigrationInfoTests {
    @Test func `of a real QEMU reads back the same`() throws {
        let recorded = try QMPValue(
            parsing: """
                {"status": "completed", "setup-time": 0, "downtime": 0, "total-time": 3, "ram": {"total": 0,
                "postcopy-requests": 0, "dirty-sync-count": 2, "multifd-bytes": 0, "pages-per-second": 0,
                "downtime-bytes": 0, "page-size": 4096, "remaining": 0, "postcopy-bytes": 0, "mbps": 1.992,
                "transferred": 0, "dirty-sync-missed-zero-copy": 0, "precopy-bytes": 0, "duplicate": 0,
                "dirty-pages-rate": 0, "skipped": 0, "normal-bytes": 0, "normal": 0}}
                """)
        let info = MigrationInfo(reading: recorded)
        #expect(info.status == .completed)
        #expect(info.totalTime == .milliseconds(3))
        #expect(info.value == recorded)
    }

    @Test func `is empty before the first migration`() {
        #expect(MigrationInfo().value == .nothing)
        #expect(MigrationInfo(reading: [:]) == MigrationInfo())
    }

    @Test func `takes nonsense without harm`() {
        let info = MigrationInfo(reading: [
            "status": "quite-new", "total-time": "x", "downtime": .unsigned(.max), "ram": [],
        ])
        #expect(info.status == nil)
        #expect(info.totalTime == nil)
        #expect(info.downtime == nil)
        #expect(info.ram == RAMStatistics())
    }

    @Test func `carries every field`() throws {
        var info = MigrationInfo(status: .active)
        info.expectedDowntime = .milliseconds(12)
        info.cpuThrottlePercentage = 30
        info.socketAddresses = [["type": "inet", "host": "::", "port": "4444"]]
        info.errorDescription = "lost"
        info.blockedReasons = ["a device"]
        info.postcopyVirtualCPUBlocktimes = [.milliseconds(1), .milliseconds(2)]
        info.ram = RAMStatistics()
        info.ram?.transferred = .max
        info.xbzrleCache = XBZRLECacheStatistics()
        info.downtimeParts = DowntimeParts()
        info.downtimeParts?.save = .microseconds(1234)
        #expect(MigrationInfo(reading: try QMPValue(parsing: info.value.text)) == info)
    }
}

@Suite("Run states") struct RunStateTests {
    @Test func `follow a migration on both sides`() {
        let source: [RunState] = [.prelaunch, .running, .finishMigration, .postMigration, .running, .paused, .running]
        for (state, next) in zip(source, source.dropFirst()) { #expect(state.mayBecome(next)) }
        let destination: [RunState] = [.prelaunch, .incomingMigration, .running]
        for (state, next) in zip(destination, destination.dropFirst()) { #expect(state.mayBecome(next)) }
    }

    @Test(arguments: RunState.allCases) func `never follow themselves`(state: RunState) {
        #expect(!state.mayBecome(state))
    }

    @Test func `that need a reset do not run on`() {
        #expect(!RunState.shutdown.mayBecome(.running))
        #expect(!RunState.internalError.mayBecome(.running))
        #expect(RunState.shutdown.mayBecome(.prelaunch))
    }
}
