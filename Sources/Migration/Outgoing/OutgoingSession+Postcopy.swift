internal import GuestMemory
internal import MigrationStream

/// Post-copy at the source.
///
///     pause -> last sync -> discards -> package -> push and serve … -> end -> the destination's last word
///                                           the link breaks: paused -> resume -> recover -> push and serve …
///
/// Until the package is out any failure is rolled back. So is a destination that says no before it has everything that
/// it needs (PONG 3). After that the guest is there, and its memory here is kept until the last page has arrived.
extension OutgoingSession {
    /// What the destination must have in common for post-copy.
    var postcopyAdvice: PostcopyAdvice {
        let sizes = machine.regions.reduce(UInt64(0)) { $0 | UInt64($1.unitPageCount * pageSize) }
        return PostcopyAdvice(pageSizeSummary: sizes, targetPageByteCount: UInt64(pageSize))
    }

    /// - Throws: `MigrationError.postcopyImpossible` with what is in the way.
    func checkPostcopy(_ channel: any MigrationChannel) throws {
        let warning = OutgoingPostcopyStatistics.warning(for: machine.regions)
        progress.update { $0.postcopy.warning = warning }
        guard channel.isBidirectional else {
            throw MigrationError.postcopyImpossible(
                "\(channel.address) has no other direction, and in post-copy the destination asks for pages.")
        }
        if options.dialect.hasPreemptChannel && !migration.connector.canOpenMore {
            throw MigrationError.postcopyImpossible(
                "\(channel.address) is a single connection, and the preempt channel is another one.")
        }
    }

    /// Opens the channel for pages that are asked for.
    func openUrgentChannel(_ connector: any MigrationConnector) throws {
        do { urgentChannel = try connector.open() } catch { throw MigrationError.channel(error) }
        if let urgentChannel { try control.add(urgentChannel) }
    }

    /// Hands the guest over now, and its memory afterwards.
    func runPostcopy(_ guest: consuming GuestRight, wasRunning: Bool) -> OutgoingOutcome {
        progress.enter(.switchover)
        progress.beginDowntime(counters: control.counters.values)
        let transition = pause(guest)
        if let error = transition.error {
            return rollBack(transition.right, error: error, wasRunning: wasRunning)
        }
        do { try startDestination(wasRunning: wasRunning) } catch {
            return rollBack(transition.right, error: error, wasRunning: wasRunning)
        }
        control.commit()
        hasSentAll = true
        while true {
            do {
                try push()
                try completePostcopy()
                break
            } catch {
                endThreads()
                if mayRollBack(after: error) {
                    hasSentAll = false
                    return rollBack(transition.right, error: error, wasRunning: wasRunning)
                }
                if let end = recoverUntilItWorks(after: control.cause(or: error)) {
                    progress.enter(.uncertain)
                    return .uncertain(end, paused(transition.takeRight()))
                }
            }
        }
        confirm()
        endThreads()
        progress.enter(.completed)
        return .completed(paused(transition.takeRight()))
    }

    private func paused(_ right: consuming GuestRight) -> PausedGuest {
        switch consume right {
        case .paused(let paused): return paused
        case .running: preconditionFailure("the guest runs after its hand-over")
        }
    }

    // MARK: Switchover

    private func startDestination(wasRunning: Bool) throws {
        progress.enter(.postcopyDevice)
        try control.check()
        guard let main else { return }
        main.pages.usesDeltas = false
        main.isLimited = false
        let recent = machine.regions.map { DirtyBitmap(pageCount: $0.block.pageCount) }
        try progress.measure(.lastSync) { try tracker.sync(recent: recent) }
        recentlyWritten = recent
        progress.update { $0.dirtySyncCount += 1 }
        for region in machine.regions where region.unitPageCount > 1 { widen(region) }
        var devices: [DeviceSection] = []
        try progress.measure(.save) {
            for part in DevicePart.allCases {
                try machine.saveDeviceState(part, wasRunning: wasRunning) { devices.append($0) }
            }
        }
        try main.writeDiscards(of: machine.regions)
        try progress.measure(.disks) { try releaseDisks() }
        try checkReturnPath()
        try progress.measure(.send) {
            try main.writeCommands([.ping(2)])
            try control.check()
            try main.writePackage(devices)
        }
        main.channel.limitUnsentBytes(to: Self.unsentByteCount)
        anticipateRequests()
    }

    /// More than this is not sent before what is asked for.
    private static let firstPageLimit = 256

    /// Has sent, while the destination loads its devices, what it would have to ask for before the guest can go on.
    private func anticipateRequests() {
        // The guest is on its way: what cannot be told now will be asked for.
        guard let needed = try? machine.pagesNeededFirst() else { return }
        // A huge page costs more than the wait for what is needed of it.
        let single = needed.filter { machine.regions[$0.region].unitPageCount == 1 }
        requests.anticipate(single.prefix(Self.firstPageLimit))
    }

    /// Marks units whole of which a part is dirty.
    private func widen(_ region: MemoryRegion) {
        let bitmap = region.block.dirtyBitmap
        for first in stride(from: 0, to: region.block.pageCount, by: region.unitPageCount) {
            let unit = PageRange(first: PageIndex(first), pageCount: region.unitPageCount)
            if bitmap.count(in: unit) > 0 { bitmap.mark(unit) }
        }
    }

    /// Whether the guest has not run at the destination, and never will.
    private func mayRollBack(after error: any Error) -> Bool {
        if isConfirmed { return false }
        if case MigrationError.refusedByDestination = error { return true }
        // The destination takes the locks before it runs the guest.
        return releasedDiskCount > 0 && retakeDisks() == nil
    }

    /// The destination has all that it needs to run the guest.
    private func confirm() {
        if isConfirmed { return }
        isConfirmed = true
        progress.endDowntime(at: returnPath?.pongTime(MainChannel.packagePing))
        progress.beginPostcopy(counters: control.counters.values)
        tracker.stop()
        machine.setThrottle(.none)
        progress.enter(.postcopyActive)
    }

    // MARK: Pages

    /// Bytes of pushed pages that may wait in the main channel: more would stand before what is asked for.
    private static let unsentByteCount = 128 << 10
    /// Pages pushed by one call, between two looks at the requests: while it runs the kernel keeps requests waiting that
    /// come over the same socket.
    private static let pushedAtOnce = 16

    /// Sends everything that is left, what is asked for first.
    private func push() throws {
        guard let main else { return }
        let urgent = urgentChannel.map { _ in UrgentSender(control: control, requests: requests) }
        do {
            if let urgent, let urgentChannel {
                try urgent.start(urgentChannel, tracker: tracker, regions: machine.regions)
            }
            if !isConfirmed { try main.writeCommands([.ping(4)]) }
            try main.beginPages(.part)
            try pushAll(main, isAlone: urgent == nil)
        } catch {
            // The thread does not outlive this: its channel is ended, and then it is waited for.
            control.fail(error)
            requests.end()
            urgent?.join()
            throw error
        }
        requests.end()
        urgent?.join()
        try control.check()
        try main.writePostcopyEnd()
    }

    /// Sends what is left on the main channel; `isAlone` if it serves requests as well.
    private func pushAll(_ main: MainChannel, isAlone: Bool) throws {
        let lane = PostcopySendingLane(tracker: tracker, writer: main.pages, regions: machine.regions)
        try waitForConfirmation(lane, servesRequests: isAlone)
        runtime.setUrgency(.hurried)
        var order = PushOrder(dirty: machine.regions.map(\.block.dirtyBitmap), recent: recentlyWritten)
        while true {
            for pivot in requests.takePivots() {
                order.add(region: pivot.region, first: pivot.first, pageCount: pivot.pageCount)
            }
            guard let proposal = order.next() else { break }
            var page = proposal.range.first.value
            while page < proposal.range.end.value {
                let count = min(Self.pushedAtOnce, proposal.range.end.value - page)
                let range = PageRange(first: PageIndex(page), pageCount: count)
                try waitForTurn(range, of: proposal.region, lane, servesRequests: isAlone)
                let sent = try lane.send(region: proposal.region, range)
                if sent > 0 { try lane.flush() }
                control.counters.addPushed(pages: sent)
                page += count
            }
        }
    }

    /// How long the push waits for the destination to be ready: the guest stands still until then, and what is pushed
    /// takes processors and the link from the pages that the destination needs for that.
    private static let confirmationLimit: Duration = .seconds(5)

    /// Lets the destination load its devices undisturbed: nothing is sent meanwhile but what it asks for.
    private func waitForConfirmation(_ lane: PostcopySendingLane, servesRequests: Bool) throws {
        if isConfirmed { return }
        let limit = runtime.now() + Self.confirmationLimit
        while !isConfirmed && runtime.now() < limit {
            requests.gate.close()
            try look(lane, servesRequests: servesRequests)
            if !isConfirmed { requests.gate.wait(until: limit) }
        }
    }

    /// Takes in what has happened, and serves requests if nobody else does.
    private func look(_ lane: PostcopySendingLane, servesRequests: Bool) throws {
        try control.check()
        try checkReturnPath()
        if !isConfirmed, let returnPath, returnPath.hasPong(MainChannel.packagePing) { confirm() }
        guard servesRequests else { return }
        while let request = requests.takeNewest() {
            let wanted = PageRange(first: PageIndex(request.first), pageCount: request.pageCount)
            let sent = try lane.send(region: request.region, wanted)
            if sent > 0 { try lane.flush() }
            control.counters.add(pages: sent, sentFor: request)
        }
    }

    /// Waits until the bandwidth limit lets `range` be pushed, and serves requests meanwhile.
    private func waitForTurn(
        _ range: PageRange, of region: Int, _ lane: PostcopySendingLane, servesRequests: Bool
    ) throws {
        let byteCount = machine.regions[region].block.dirtyBitmap.count(in: range) * pageSize
        let turn = control.postcopyLimiter.reserve(byteCount, at: runtime.now())
        while true {
            requests.gate.close()
            try look(lane, servesRequests: servesRequests)
            guard let turn, runtime.now() < turn else { return }
            requests.gate.wait(until: turn)
        }
    }

    private func completePostcopy() throws {
        guard let returnPath else { return }
        while true {
            let code = try control.wait { () throws -> UInt32? in
                if !isConfirmed, returnPath.hasPong(MainChannel.packagePing) { return .max }
                if let code = returnPath.shutCode { return code }
                if let silence = returnPath.silence { throw silence }
                return nil
            }
            if code == .max {
                confirm()
                continue
            }
            if let code, code != 0 { throw MigrationError.refusedByDestination(code: code) }
            return
        }
    }

    // MARK: Recovery

    /// Waits for a new link and agrees with the destination on what is missing, again and again.
    ///
    /// - Returns: Why it was given up; nil when it works again.
    private func recoverUntilItWorks(after error: any Error) -> (any Error)? {
        var error = error
        // The guest stands still here, and may not for long.
        tracker.stop()
        machine.setThrottle(.none)
        runtime.setUrgency(.usual)
        while true {
            progress.update { $0.linkError = "\(error)" }
            progress.enter(.postcopyPaused)
            do {
                let connector = try control.waitForConnector()
                do {
                    try recover(over: connector)
                    return nil
                } catch let failure {
                    error = control.cause(or: failure)
                    endThreads()
                }
            } catch let end { return end }
        }
    }

    private func recover(over connector: any MigrationConnector) throws {
        progress.enter(.postcopyRecoverSetup)
        requests.begin()
        let channel: any MigrationChannel
        do { channel = try connector.open() } catch { throw MigrationError.channel(error) }
        try control.add(channel)
        try checkPostcopy(channel)
        let main = MainChannel(channel: channel, control: control, options: options)
        main.isLimited = false
        self.main = main
        try startReturnPath(channel)
        progress.enter(.postcopyRecover)
        try main.writeCommands(machine.regions.map { .receivedBitmap(block: $0.block.name) })
        for region in machine.regions {
            let bitmap = try control.wait { () throws -> [UInt8]? in
                if let bitmap = returnPath?.receivedBitmap(of: region.block.name) { return bitmap }
                try checkReturnPath()
                return nil
            }
            try markMissing(region, received: bitmap ?? [])
        }
        try main.writeCommands([.postcopyResume])
        _ = try control.wait { () throws -> Bool? in
            if returnPath?.hasAcknowledgedResume == true { return true }
            try checkReturnPath()
            return nil
        }
        urgentChannel = nil
        if options.dialect.hasPreemptChannel { try openUrgentChannel(connector) }
        main.channel.limitUnsentBytes(to: Self.unsentByteCount)
        // It has asked for pages, so it runs, whether its word of that was lost or not.
        confirm()
        progress.update { statistics in
            statistics.linkError = nil
            statistics.recoveryCount += 1
        }
        progress.enter(.postcopyActive)
    }

    /// All that the destination does not have is to be sent.
    private func markMissing(_ region: MemoryRegion, received: [UInt8]) throws {
        let block = region.block
        let expected = (block.pageCount + 63) / 64 * 8
        guard received.count == expected else {
            throw MigrationError.unexpected(
                "a bitmap of RAM block \(block.name) with \(received.count) bytes instead of \(expected)")
        }
        var words = [UInt64](repeating: 0, count: expected / 8)
        for index in words.indices {
            var word: UInt64 = 0
            for byte in 0..<8 { word |= UInt64(received[index * 8 + byte]) << UInt64(byte * 8) }
            words[index] = ~word
        }
        block.dirtyBitmap.clearAll()
        block.dirtyBitmap.merge(log: words.span)
        if region.unitPageCount > 1 { widen(region) }
    }
}
