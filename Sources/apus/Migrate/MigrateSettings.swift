import ArgumentParser
import MigrationClient
import QMP

/// The options of `apus migrate` that say what the migration is to be like.
struct MigrateSettings: ParsableArguments {
    enum Compression: String, ExpressibleByArgument, CaseIterable { case zstd, zlib, xbzrle }
    enum Throttle: String, ExpressibleByArgument, CaseIterable {
        case stun
        case autoConverge = "auto-converge"
        case dirtyLimit = "dirty-limit"
    }
    enum Ending: String, ExpressibleByArgument, CaseIterable {
        case classic
        case downtimeLimit = "downtime-limit"
    }

    @Flag(inversion: .prefixedNo, help: "Let the guest run while it moves, or stop it before.")
    var live = true
    @Option(
        help: ArgumentHelp(
            "The most that is sent: MiB/s, or bytes/s with a suffix (100M, 1G); 0 is no limit. Not given: as the monitor has it.",
            valueName: "RATE"))
    var bandwidth: Rate?
    @Option(
        name: [.long, .customLong("max-downtime")],
        help: ArgumentHelp("How long the guest may stand still.", valueName: "MS"))
    var downtimeLimit: Int?
    @Option(help: ArgumentHelp("What ends the passes: a predicted downtime, or KVM's first rule.", valueName: "RULE"))
    var ending: Ending?
    @Option(
        name: [.long, .customLong("parallel-connections")],
        help: ArgumentHelp("Send memory over N channels beside the main one (multifd).", valueName: "N"))
    var channels: Int?
    @Option(help: ArgumentHelp("zstd or zlib (on channels), or xbzrle: changes of pages only.", valueName: "KIND"))
    var compress: Compression?
    @Option(help: ArgumentHelp("Of zlib (0 to 9) or zstd (0 to 20).", valueName: "N"))
    var compressLevel: Int?
    @Option(help: ArgumentHelp("Memory for xbzrle, a power of two.", valueName: "SIZE"))
    var xbzrleCache: ByteSizeOption?
    @Flag(help: "Send from guest memory without a copy by the kernel (needs --channels).")
    var zeroCopy = false
    @Flag(help: "On one host: hand the memory itself over (unix: only, memory of kind shared=on).")
    var local = false

    @Option(
        help: ArgumentHelp("Slow a guest that writes faster than it is sent: stun, auto-converge or dirty-limit."))
    var throttle: Throttle?
    @Flag(help: "The same as --throttle auto-converge.")
    var autoConverge = false
    @Option(help: ArgumentHelp("The first step of auto-converge.", valueName: "PERCENT"))
    var autoConvergeInitial: Int?
    @Option(help: ArgumentHelp("Each further step.", valueName: "PERCENT"))
    var autoConvergeIncrement: Int?
    @Option(help: ArgumentHelp("What each virtual CPU may dirty with dirty-limit.", valueName: "MB/S"))
    var dirtyLimitRate: Int?

    @Flag(
        help: ArgumentHelp(
            "Let the guest go on at the destination at once, and fetch its memory as it is needed. Until it has all of "
                + "it, a monitor that is killed at either side takes the guest with it."))
    var postcopy = false
    @Option(help: ArgumentHelp("The same after N passes.", valueName: "N"))
    var postcopyAfterPass: Int?
    @Flag(help: "Passes while they pay, then post-copy for the rest, with the same risk.")
    var hybrid = false
    @Option(help: ArgumentHelp("As --bandwidth, for post-copy.", valueName: "RATE"))
    var postcopyBandwidth: Rate?
    @Flag(inversion: .prefixedNo, help: "Send pages that the guest waits for on a channel of their own.")
    var preempt = false

    @Option(help: ArgumentHelp("Seconds after which one of the next three happens.", valueName: "S"))
    var timeout: Double?
    @Flag(help: "Stop the guest until it has moved (the default).")
    var timeoutSuspend = false
    @Flag(help: "Give the migration up.")
    var timeoutCancel = false
    @Flag(help: "Go on with post-copy.")
    var timeoutPostcopy = false
    @Flag(help: "Wait before the switchover, with the guest stopped, until told to go on.")
    var pauseBeforeSwitchover = false
    @Flag(
        inversion: .prefixedNo, help: "Let the destination answer. Without, the source takes its success for granted.")
    var returnPath = true

    /// The capabilities and parameters of a migration to `address`.
    func plan(to address: String) throws -> MigrationPlan {
        try checkNumbers()
        var plan = MigrationPlan(address: address)
        plan.isLive = live
        plan.enable("events")
        // Files and most commands carry nothing back.
        if returnPath && !address.hasPrefix("file:") && !address.hasPrefix("exec:") { plan.enable("return-path") }
        if pauseBeforeSwitchover { plan.enable("pause-before-switchover", for: "--pause-before-switchover") }
        if local { plan.enable("local", for: "--local") }
        if let bandwidth { plan.set("max-bandwidth", to: QMPValue(bandwidth.bytesPerSecond), for: "--bandwidth") }
        if let downtimeLimit { plan.set("downtime-limit", to: QMPValue(downtimeLimit), for: "--downtime-limit") }
        // A monitor without the choice has the rule of downtime-limit.
        if let ending, ending == .classic { plan.set("ending", to: "classic", for: "--ending classic") }
        try addChannels(to: &plan)
        try addThrottle(to: &plan)
        try addPostcopy(to: &plan)
        try addTimeout(to: &plan)
        return plan
    }

    private func checkNumbers() throws {
        try check(downtimeLimit, 0...2_000_000, "--downtime-limit")
        try check(channels, 1...255, "--channels")
        try check(compressLevel, compress == .zstd ? 0...20 : 0...9, "--compress-level")
        try check(autoConvergeInitial, 1...99, "--auto-converge-initial")
        try check(autoConvergeIncrement, 1...99, "--auto-converge-increment")
        try check(dirtyLimitRate, 1...(1 << 30), "--dirty-limit-rate")
        try check(postcopyAfterPass, 0...1000, "--postcopy-after-pass")
        if let timeout, timeout <= 0 { throw ValidationError("--timeout \(timeout): more than 0 seconds are needed.") }
    }

    private func addChannels(to plan: inout MigrationPlan) throws {
        let compressesChannels = compress == .zstd || compress == .zlib
        if compress == .xbzrle {
            if channels != nil {
                throw ValidationError(
                    "--compress xbzrle and --channels exclude one another: pages then go over channels.")
            }
            plan.enable("xbzrle", for: "--compress xbzrle")
        }
        if compressLevel != nil && !compressesChannels {
            throw ValidationError("--compress-level belongs to --compress zstd or zlib.")
        }
        if xbzrleCache != nil && compress != .xbzrle {
            throw ValidationError("--xbzrle-cache belongs to --compress xbzrle.")
        }
        if let xbzrleCache {
            plan.set("xbzrle-cache-size", to: QMPValue(xbzrleCache.byteCount), for: "--xbzrle-cache")
        }
        if zeroCopy {
            guard channels != nil, compress == nil else {
                throw ValidationError("--zero-copy needs --channels, and no --compress.")
            }
            plan.enable("zero-copy-send", for: "--zero-copy")
        }
        guard channels != nil || compressesChannels else { return }
        plan.enable("multifd", for: channels == nil ? "--compress" : "--channels")
        plan.set("multifd-channels", to: QMPValue(channels ?? 2), for: "--channels")
        plan.set("multifd-compression", to: .string(compressesChannels ? compress?.rawValue ?? "none" : "none"))
        if let compress, let compressLevel {
            plan.set("multifd-\(compress.rawValue)-level", to: QMPValue(compressLevel), for: "--compress-level")
        }
    }

    private func addThrottle(to plan: inout MigrationPlan) throws {
        if autoConverge, let throttle, throttle != .autoConverge {
            throw ValidationError("--auto-converge and --throttle \(throttle.rawValue) exclude one another.")
        }
        let kind = autoConverge ? .autoConverge : throttle
        switch kind {
        case .stun: plan.enable("stun", for: "--throttle stun")
        case .autoConverge: plan.enable("auto-converge", for: "--auto-converge")
        case .dirtyLimit: plan.enable("dirty-limit", for: "--throttle dirty-limit")
        case nil: break
        }
        if kind != .autoConverge && (autoConvergeInitial != nil || autoConvergeIncrement != nil) {
            throw ValidationError("--auto-converge-initial and --auto-converge-increment belong to --auto-converge.")
        }
        if let autoConvergeInitial {
            plan.set("cpu-throttle-initial", to: QMPValue(autoConvergeInitial), for: "--auto-converge-initial")
        }
        if let autoConvergeIncrement {
            plan.set("cpu-throttle-increment", to: QMPValue(autoConvergeIncrement), for: "--auto-converge-increment")
        }
        guard let dirtyLimitRate else { return }
        guard kind == .dirtyLimit else {
            throw ValidationError("--dirty-limit-rate belongs to --throttle dirty-limit.")
        }
        plan.set("vcpu-dirty-limit", to: QMPValue(dirtyLimitRate), for: "--dirty-limit-rate")
    }

    private func addPostcopy(to plan: inout MigrationPlan) throws {
        if hybrid && (postcopy || postcopyAfterPass != nil) {
            throw ValidationError("--hybrid decides by itself when post-copy begins: leave --postcopy out.")
        }
        let isPostcopy = postcopy || postcopyAfterPass != nil
        guard isPostcopy || hybrid || timeoutPostcopy else {
            if preempt || postcopyBandwidth != nil {
                throw ValidationError("--preempt and --postcopy-bandwidth belong to --postcopy or --hybrid.")
            }
            return
        }
        let option = hybrid ? "--hybrid" : isPostcopy ? "--postcopy" : "--timeout-postcopy"
        plan.enable("postcopy-ram", for: option)
        if preempt { plan.enable("postcopy-preempt", for: "--preempt") }
        if let postcopyBandwidth {
            plan.set(
                "max-postcopy-bandwidth", to: QMPValue(postcopyBandwidth.bytesPerSecond), for: "--postcopy-bandwidth")
        }
        if hybrid { plan.mode = .hybrid }
        if isPostcopy { plan.mode = .postcopy(afterPass: postcopyAfterPass ?? 0) }
    }

    private func addTimeout(to plan: inout MigrationPlan) throws {
        let actions: [(Bool, MigrationPlan.Timeout.Action)] = [
            (timeoutSuspend, .suspend), (timeoutCancel, .cancel), (timeoutPostcopy, .postcopy),
        ]
        let chosen = actions.filter(\.0).map(\.1)
        if chosen.count > 1 {
            throw ValidationError("Of --timeout-suspend, --timeout-cancel and --timeout-postcopy one is possible.")
        }
        guard let timeout else {
            if let action = chosen.first {
                throw ValidationError("--timeout-\(action.rawValue) needs --timeout SECONDS.")
            }
            return
        }
        plan.timeout = MigrationPlan.Timeout(limit: .seconds(timeout), action: chosen.first ?? .suspend)
    }
}
