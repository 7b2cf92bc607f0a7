import MigrationStream
import Testing

/// What QEMU wrote for Linux's drivers at work; the captures are described in the fixtures' README.
@Suite("Virtio state of a running guest") struct VirtioStateTests {
    private func load<Device: DeviceState>(_: Device.Type, stream: String) throws -> Device {
        let section = try #require(
            Fixtures.sections.first { $0.stream == stream && $0.idstr.hasSuffix("/" + Device.vmsdName) })
        var device = Device()
        try device.load(section.payload, version: section.version)
        return device
    }

    @Test(arguments: [("linux-faults-modern", 2), ("linux-faults-legacy", 1)])
    func `has the requests that an error stopped`(stream: String, queueCount: Int) throws {
        let disk = try load(VirtioBlockState.self, stream: stream)
        #expect(disk.virtio.queueCount == queueCount)
        #expect(disk.requests.count == 1)
        let request = try #require(disk.requests.first).request
        // A read has a header of 16 bytes to read and data and a status byte to write.
        #expect(request.readable.map(\.byteCount) == [16])
        #expect(request.writable.last?.byteCount == 1)
        #expect(request.readable.allSatisfy { $0.address > 0 && $0.address < 192 << 20 })
        var rebuilt = VirtioRequest(index: request.index, readable: request.readable, writable: request.writable)
        #expect(rebuilt.readable == request.readable && rebuilt.writable == request.writable)
        rebuilt.bytes = request.bytes
        #expect(rebuilt == request)
    }

    @Test func `has addresses of all rings behind a modern transport`() throws {
        let disk = try load(VirtioBlockState.self, stream: "linux-modern")
        #expect(disk.virtio.parts == .modern)
        #expect(disk.virtio.status == 0xF)
        #expect(disk.virtio.isStarted)
        // With one processor the driver uses one of the two queues.
        let inUse = disk.virtio.queues.filter { $0.descriptorTable != 0 }
        #expect(disk.virtio.queueCount == 2 && inUse.count == 1)
        for queue in inUse {
            #expect(queue.availableRing > queue.descriptorTable && queue.usedRing > queue.availableRing)
            #expect(UInt64(queue.written.descriptorTable[0]) == queue.descriptorTable)
            #expect(queue.written.size == UInt16(queue.size))
        }
    }

    @Test(arguments: [0, 1, 2, 511, 1022, 1023]) func `keeps a queue among a thousand empty ones`(index: Int) throws {
        var disk = try load(VirtioBlockState.self, stream: "linux-modern")
        let length = disk.encoded().count
        disk.virtio.queues[index].availableRing = 0x1000
        disk.virtio.queues[index].usedRing = 1
        disk.virtio.queues[index].written.usedRing[1] = 1
        let bytes = disk.encoded()
        #expect(bytes.count == length)
        var loaded = VirtioBlockState()
        try loaded.load(bytes, version: VirtioBlockState.currentVersion)
        #expect(loaded == disk)
        #expect(throws: StateError.self) {
            try loaded.load([UInt8](bytes.dropLast(40)), version: VirtioBlockState.currentVersion)
        }
    }

    @Test func `has one address a queue behind a legacy transport`() throws {
        let disk = try load(VirtioBlockState.self, stream: "linux-legacy")
        #expect(disk.virtio.parts == .legacy)
        #expect(disk.virtio.guestPageShift == 12)
        #expect(disk.virtio.queues[0].descriptorTable % 4096 == 0)
        #expect(disk.virtio.queues[0].availableRing == 0)
    }

    @Test(arguments: ["linux-faults-modern", "linux-faults-legacy"])
    func `has all pairs of queues of a network card`(stream: String) throws {
        let card = try load(VirtioNetState.self, stream: stream)
        #expect(card.queuePairLimit == 2)
        #expect(card.queuePairCount == 2)
        #expect(card.transmitWaiting == [0, 0])
        #expect(card.virtio.queueCount == 5)
        #expect(card.addressTable.count % 6 == 0 && !card.addressTable.isEmpty)
    }

    @Test func `refuses another number of pairs than the machine has`() throws {
        let section = try #require(
            Fixtures.sections.first { $0.stream == "linux-faults-modern" && $0.idstr.hasSuffix("/virtio-net") })
        var card = VirtioNetState()
        card.queuePairLimit = 4
        #expect {
            try card.load(section.payload, version: 11)
        } throws: { error in
            guard case StateError.unequal(_, let expected, let found, _) = error else { return false }
            return expected == 4 && found == 2
        }
    }

    @Test(arguments: ["linux-faults-modern", "linux-faults-legacy"])
    func `has the buffer that a console's reader did not take`(stream: String) throws {
        let console = try load(VirtioConsoleState.self, stream: stream)
        #expect(console.maximumPortCount == 40)
        #expect(console.portMap.count == 2)
        #expect(console.ports.map(\.id) == [1, 35])
        #expect(console.ports[0].pending?.request.readable.isEmpty == false)
        #expect(console.ports[1].pending == nil)
    }

    @Test(arguments: ["linux-modern", "linux-legacy"])
    func `has the balloon's pages`(stream: String) throws {
        let balloon = try load(VirtioBalloonState.self, stream: stream)
        #expect(balloon.wantedPageCount == 12 << 8)
        #expect(balloon.actualPageCount == 12 << 8)
        #expect(balloon.freePageHint != nil)
    }
}
