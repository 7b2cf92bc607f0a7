public import MigrationStream
internal import Synchronization

extension BalloonDevice {
    /// offset  size  field
    ///      0     4  pages that the host wants back
    ///      4     4  pages that the guest has given
    ///      8     4  the ID of the request for hints, or stop (0) or done (1)
    ///     12     4  the value the guest fills free pages with
    public var configuration: [UInt8] {
        let live = live.withLock { $0 }
        var bytes = [UInt8](repeating: 0, count: 16)
        bytes.store(live.wantedPageCount, at: 0)
        bytes.store(live.actualPageCount, at: 4)
        switch live.hints.phase {
        case .requested, .started: bytes.store(live.hints.commandID, at: 8)
        case .stopped: bytes.store(Hints.stopID, at: 8)
        case .done: bytes.store(Hints.doneID, at: 8)
        }
        bytes.store(live.poison, at: 12)
        return bytes
    }

    public func writeConfiguration(_ bytes: [UInt8], at offset: Int) {
        guard bytes.count == 4 else { return }
        let value = UInt32(littleEndian: bytes, at: 0)
        live.withLock { live in
            if offset == 4 { live.actualPageCount = value }
            if offset == 12, live.acceptedFeatures & Feature.poison != 0 { live.poison = value }
        }
    }

    public func driverIsReady(features: UInt64) { live.withLock { $0.acceptedFeatures = features } }

    public func resetDevice() {
        live.withLock { live in
            let wanted = live.wantedPageCount
            live = Live()
            // What the host wants outlives a reboot.
            live.wantedPageCount = wanted
        }
    }

    public func save(into state: inout VirtioBalloonState) {
        let live = live.withLock { $0 }
        state.wantedPageCount = live.wantedPageCount
        state.actualPageCount = live.actualPageCount
        if live.acceptedFeatures & Feature.hints != 0 {
            state.freePageHint = .init(commandID: live.hints.commandID, status: live.hints.phase.rawValue)
        }
        if live.acceptedFeatures & Feature.poison != 0 { state.poison = live.poison }
    }

    public func load(_ state: VirtioBalloonState) throws {
        if state.freePageHint != nil, features & Feature.hints == 0 {
            throw DeviceError.mismatch(device: name, property: "free page hints", here: "off", there: "on")
        }
        live.withLock { live in
            live.wantedPageCount = state.wantedPageCount
            live.actualPageCount = state.actualPageCount
            live.poison = state.poison ?? 0
            live.acceptedFeatures = state.virtio.guestFeatures
            if let hint = state.freePageHint {
                live.hints.commandID = hint.commandID
                // Who asked was the source's migration, which is over.
                live.hints.phase = hint.status == Hints.Phase.done.rawValue ? .done : .stopped
            }
        }
    }
}
