internal import MigrationStream

extension OutgoingSession {
    /// Sends the last pages and the devices, and gives the disks up. The guest stands still.
    func switchOver(wasRunning: Bool) throws {
        if options.pausesBeforeSwitchover {
            progress.enter(.preSwitchover)
            _ = try control.wait {
                try checkReturnPath()
                return control.continues ? true : nil
            }
        }
        progress.enter(.deviceState)
        try control.check()
        guard let main else { return }
        try progress.measure(.lastSync) { try tracker.sync() }
        progress.update { $0.dirtySyncCount += 1 }
        if options.sendsSwitchoverStart { try main.writeCommands([.switchoverStart]) }
        var devices: [DeviceSection] = []
        // The destination puts the CPUs in force while the last pages are on their way. Of a QEMU one does not know that.
        let isApus = returnPath?.isApus == true
        if isApus { devices += try sendDevices(.processors, main, wasRunning: wasRunning) }
        try progress.measure(.lastPages) {
            _ = try sendPages(.end, mode: .final, isLimited: false) { _ in true }
        }
        if !isApus { devices += try sendDevices(.processors, main, wasRunning: wasRunning) }
        devices += try sendDevices(.others, main, wasRunning: wasRunning)
        try progress.measure(.disks) { try releaseDisks() }
        try checkReturnPath()
        try progress.measure(.send) {
            try control.check()
            try migration.handOver.commit()
            hasSentAll = true
            do {
                try main.writeEnd()
            } catch {
                // Not one byte of the end went out, so the destination cannot have it.
                if main.hasFailedWhole { hasSentAll = false }
                throw error
            }
        }
        do {
            // Made while the destination loads what it describes. Nothing depends on it.
            try main.writeDescription(description(of: devices))
        } catch {
            // Without a return path this tells that the destination has gone. With one the destination says itself what it
            // has, once it knows that no more comes.
            guard returnPath != nil, (try? main.channel.endSending()) != nil else { throw error }
        }
    }

    /// Saves devices, and sends each while the next is saved.
    private func sendDevices(_ part: DevicePart, _ main: MainChannel, wasRunning: Bool) throws -> [DeviceSection] {
        let start = runtime.now()
        var sending = Duration.zero
        var sections: [DeviceSection] = []
        try machine.saveDeviceState(part, wasRunning: wasRunning) { section in
            sections.append(section)
            let start = runtime.now()
            try main.writeDevice(section)
            sending += runtime.now() - start
        }
        progress.add(runtime.now() - start - sending, to: .save)
        progress.add(sending, to: .send)
        try progress.measure(.send) { try main.flush() }
        return sections
    }

    /// Waits for the destination to say that it has the guest.
    func complete() throws {
        progress.enter(.completion)
        guard let returnPath else {
            do {
                try main?.channel.endSending()
            } catch {
                throw MigrationError.handOverUnknown(reason: error.description)
            }
            return
        }
        _ = try progress.measure(.load) {
            try control.wait { () throws -> UInt32? in
                if let code = returnPath.shutCode { return code }
                if let silence = returnPath.silence { throw MigrationError.handOverUnknown(reason: "\(silence)") }
                return nil
            }
        }
        if let refusal = returnPath.refusal { throw refusal }
    }

    /// Lets an Apus destination tell how long the guest took to run there, which is the end of the downtime.
    ///
    /// The guest is there whatever comes of this.
    func waitForArrival() {
        guard let returnPath, returnPath.isApus else { return }
        let deadline = runtime.now() + Self.arrivalLimit
        while returnPath.arrival == nil && returnPath.end == nil && runtime.now() < deadline {
            control.changed.close()
            if returnPath.arrival == nil && returnPath.end == nil { control.changed.wait(until: deadline) }
        }
        guard let arrival = returnPath.arrival else { return }
        progress.add(arrival.resume, to: .resume)
        progress.add(arrival.announce, to: .announce)
        progress.lengthenDowntime(by: arrival.resume)
    }

    private static let arrivalLimit: Duration = .seconds(2)

    func releaseDisks() throws {
        for disk in machine.disks {
            do {
                try disk.releaseLock()
            } catch {
                throw MigrationError.disk("\(disk.kind) \(disk.name)", reason: "\(error)")
            }
            releasedDiskCount += 1
        }
    }

    /// Takes the locks that were given up; the first that cannot be had ends it, and all are given up again.
    func retakeDisks() -> MigrationError? {
        let disks = machine.disks.prefix(releasedDiskCount)
        for (index, disk) in disks.enumerated() {
            do {
                try disk.takeLock()
            } catch {
                for taken in disks.prefix(index) {
                    // It was taken a moment ago; a failure to give it up leaves it here, where nothing uses it.
                    try? taken.releaseLock()
                }
                return MigrationError.disk("\(disk.kind) \(disk.name)", reason: "\(error)")
            }
        }
        releasedDiskCount = 0
        return nil
    }

    /// Whether this side owns the guest after `error`, whatever the destination does.
    private func ownsGuest(after error: any Error) -> Bool {
        if !hasSentAll { return true }
        if case MigrationError.refusedByDestination = error { return true }
        // The destination takes the locks before it runs the guest: who has them owns it. Without one, nobody knows.
        return releasedDiskCount > 0
    }

    /// Puts everything back; the guest goes on here if it may.
    func rollBack(_ guest: consuming GuestRight, error: any Error, wasRunning: Bool) -> OutgoingOutcome {
        progress.enter(.rollback)
        // A cancel cuts channels, which their threads see as errors of their own.
        let error =
            control.isCancelled && !hasSentAll
            ? MigrationError.cancelled : destinationsReason(or: control.cause(or: error))
        endThreads()
        tracker.stop()
        machine.setThrottle(.none)
        progress.update { $0.throttle = .none }
        let owns = ownsGuest(after: error)
        let lockError = owns ? retakeDisks() : nil
        let reason = owns && lockError == nil ? whenTakenBack(error) : error
        switch consume guest {
        case .running(let running):
            progress.enter(control.isCancelled ? .cancelled : .failed)
            return .failed(reason, .running(running))
        case .paused(let paused):
            guard owns && lockError == nil else {
                progress.enter(.uncertain)
                return .uncertain(unknown(error, lockError: lockError), paused)
            }
            guard wasRunning else {
                progress.enter(control.isCancelled ? .cancelled : .failed)
                return .failed(reason, .paused(paused))
            }
            let transition = machine.resume(paused)
            progress.endDowntime()
            progress.enter(control.isCancelled ? .cancelled : .failed)
            return .failed(transition.error ?? reason, transition.right)
        }
    }

    /// The error as it is told when the guest goes on here.
    private func whenTakenBack(_ error: any Error) -> any Error {
        if case MigrationError.handOverUnknown(let reason) = error { return MigrationError.answerLost(reason: reason) }
        return error
    }

    /// What the destination said before it cut the connection, which tells more than that it did.
    private func destinationsReason(or error: any Error) -> any Error {
        guard case MigrationError.channel = error, let returnPath else { return error }
        let deadline = runtime.now() + Self.lastWordsLimit
        while returnPath.end == nil && returnPath.shutCode == nil && runtime.now() < deadline {
            control.changed.close()
            if returnPath.end == nil && returnPath.shutCode == nil { control.changed.wait(until: deadline) }
        }
        if let refusal = returnPath.refusal { return refusal }
        if let end = returnPath.end, case MigrationError.stream = end { return end }
        return error
    }

    private static let lastWordsLimit: Duration = .milliseconds(200)

    private func unknown(_ error: any Error, lockError: MigrationError?) -> any Error {
        if let lockError { return MigrationError.handOverUnknown(reason: "\(error) \(lockError)") }
        if case MigrationError.handOverUnknown = error { return error }
        return MigrationError.handOverUnknown(reason: "\(error)")
    }
}
