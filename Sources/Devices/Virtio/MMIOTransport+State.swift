internal import GuestMemory
public import MigrationStream
internal import Synchronization

/// The transport's part of a virtio section: QEMU's fields of a modern virtio-mmio device.
extension MMIOTransport: SectionDevice {
    /// QEMU's alignment of the used ring, which only a legacy driver could change.
    private static let ringAlignment: UInt32 = 4096

    public var sectionName: String { device.map { $0.sectionName } ?? name }

    /// The newest version of the section that can be loaded, which is the one that is saved.
    public var sectionVersion: Int { server?.device.sectionVersion ?? 0 }

    public func saveSection() -> SavedState {
        guard let server else { preconditionFailure("a transport without a device has no section") }
        return server.device.saveSection(virtioState(server))
    }

    public func loadSection(_ section: ReceivedState) throws {
        guard let server else { preconditionFailure("a transport without a device has no section") }
        try server.device.loadSection(section) { state in
            try load(state, into: server)
            // The device's own part comes after what the start of a driver sets.
            let registers = registers.withLock { $0 }
            if registers.status.isServed { server.start(features: registers.driverFeatures) }
        }
    }

    private func virtioState(_ server: QueueServer) -> VirtioState {
        let registers = registers.withLock { $0 }
        let queues = server.snapshot
        var state = VirtioState()
        state.parts = .modern
        state.hostFeaturesSelect = registers.deviceFeaturesSelect
        state.guestFeaturesSelect = registers.driverFeaturesSelect
        state.status = registers.status.rawValue
        state.interruptStatus = server.interrupt.reasons.rawValue
        state.selectedQueue = UInt16(truncatingIfNeeded: registers.queueSelect)
        // Features count once the driver has asked for them; before, they are only written.
        state.guestFeatures = registers.status.contains(.featuresOK) ? registers.driverFeatures : 0
        state.writtenFeatures[0] = UInt32(truncatingIfNeeded: registers.driverFeatures)
        state.writtenFeatures[1] = UInt32(truncatingIfNeeded: registers.driverFeatures >> 32)
        state.configuration = server.device.configuration
        state.isBroken = registers.status.contains(.needsReset)
        state.isStarted = registers.status.contains(.driverOK)
        for (index, queue) in queues.queues.enumerated() {
            state.queues[index].save(queue, written: registers.queues[index], alignment: Self.ringAlignment)
        }
        return state
    }

    private func load(_ state: VirtioState, into server: QueueServer) throws {
        let device = server.device
        guard state.parts.contains(.modernTransport) else {
            throw DeviceError.mismatch(
                device: device.name, property: "the virtio-mmio transport", here: "version 2", there: "version 1")
        }
        guard state.guestFeatures & ~offeredFeatures == 0 else {
            throw DeviceError.features(
                device: device.name, accepted: state.guestFeatures, offered: offeredFeatures)
        }
        guard state.queueCount == device.queueSizes.count else {
            throw DeviceError.mismatch(
                device: device.name, property: "the number of queues", here: "\(device.queueSizes.count)",
                there: "\(state.queueCount)")
        }
        server.reset()
        var loaded = Registers(queues: device.queueSizes.map { _ in QueueRegisters() })
        loaded.status = Status(rawValue: state.status)
        if state.isBroken { loaded.status.insert(.needsReset) }
        loaded.deviceFeaturesSelect = state.hostFeaturesSelect
        loaded.driverFeaturesSelect = state.guestFeaturesSelect
        loaded.driverFeatures = UInt64(state.writtenFeatures[0]) | UInt64(state.writtenFeatures[1]) << 32
        loaded.queueSelect = UInt32(state.selectedQueue)
        for index in loaded.queues.indices { loaded.queues[index].load(state.queues[index].written) }
        try server.quietly { (queues) throws(VirtioError) in
            for (index, saved) in state.queues.prefix(queues.queues.count).enumerated()
            where loaded.queues[index].isReady {
                try queues.queues[index].load(
                    nextAvailable: saved.lastAvailableIndex, size: UInt16(clamping: saved.size),
                    descriptorTable: GuestAddress(saved.descriptorTable),
                    availableRing: GuestAddress(saved.availableRing), usedRing: GuestAddress(saved.usedRing),
                    in: queues.memory)
            }
        }
        server.interrupt.set(VirtioInterrupt.Reason(rawValue: state.interruptStatus))
        registers.withLock { $0 = loaded }
    }
}

extension VirtioQueueState {
    fileprivate mutating func save(
        _ queue: Virtqueue, written: MMIOTransport.QueueRegisters, alignment: UInt32
    ) {
        size = UInt32(queue.size)
        proposedSize = UInt32(queue.maximumSize)
        self.alignment = alignment
        descriptorTable = queue.descriptorTable.value
        availableRing = queue.availableRing.value
        usedRing = queue.usedRing.value
        lastAvailableIndex = queue.nextAvailable
        self.written.size = written.size
        self.written.isEnabled = written.isReady
        self.written.descriptorTable = Self.halves(written.descriptorTable)
        self.written.availableRing = Self.halves(written.availableRing)
        self.written.usedRing = Self.halves(written.usedRing)
    }

    private static func halves(_ value: UInt64) -> [2 of UInt32] {
        [UInt32(truncatingIfNeeded: value), UInt32(truncatingIfNeeded: value >> 32)]
    }
}

extension MMIOTransport.QueueRegisters {
    fileprivate mutating func load(_ written: VirtioWrittenQueue) {
        size = written.size
        isReady = written.isEnabled
        descriptorTable = UInt64(written.descriptorTable[0]) | UInt64(written.descriptorTable[1]) << 32
        availableRing = UInt64(written.availableRing[0]) | UInt64(written.availableRing[1]) << 32
        usedRing = UInt64(written.usedRing[0]) | UInt64(written.usedRing[1]) << 32
    }
}
