import Devices
import Glibc
import GuestMemory
import LinuxSystem
import Synchronization

/// A guest of 4 MiB of memory with no processor: the test plays its driver.
final class TestGuest: Sendable {
    let ram: RAMBlock
    let memory: GuestAddressSpace

    init() throws {
        ram = RAMBlock(name: "ram", mapping: try MemoryMapping(.anonymousSmallPages, byteCount: 4 << 20))
        memory = GuestAddressSpace(regions: [.init(address: GuestAddress(0), byteCount: 4 << 20, block: ram)])
    }
}

/// A line that remembers its level, counts its rising edges and lets a test wait for high.
final class TestLine: InterruptLine {
    private let state = Mutex<(isHigh: Bool, edges: Int)>((false, 0))
    let raised = Gate()

    var isHigh: Bool { state.withLock { $0.isHigh } }
    var edges: Int { state.withLock { $0.edges } }

    func setLevel(_ isHigh: Bool) {
        state.withLock { state in
            if isHigh && !state.isHigh { state.edges += 1 }
            state.isHigh = isHigh
            if isHigh { raised.open() } else { raised.close() }
        }
    }

    /// Waits until the line is high; false after ten seconds.
    func waitUntilHigh() -> Bool { raised.wait(for: .seconds(10)) }
}

/// The driver's side of one queue, laid out in guest memory from `base` on.
struct DriverQueue {
    let memory: GuestAddressSpace
    let size: UInt16
    let descriptorTable: GuestAddress
    let availableRing: GuestAddress
    let usedRing: GuestAddress
    private var available: UInt16 = 0
    private var seenUsed: UInt16 = 0
    private var nextDescriptor: UInt16 = 0

    init(memory: GuestAddressSpace, base: UInt64, size: UInt16) {
        self.memory = memory
        self.size = size
        descriptorTable = GuestAddress(base)
        availableRing = GuestAddress(base + 0x4000)
        usedRing = GuestAddress(base + 0x5000)
    }

    /// One buffer of a request.
    struct Buffer {
        var address: UInt64
        var byteCount: UInt32
        var isWritable = false
    }

    func setDescriptor(
        _ number: Int, address: UInt64, byteCount: UInt32, flags: UInt16, next: UInt16,
        table: GuestAddress? = nil
    ) throws {
        let place = GuestAddress((table ?? descriptorTable).value + UInt64(number) * 16)
        try memory.write(address, at: place)
        try memory.write(
            UInt64(byteCount) | UInt64(flags) << 32 | UInt64(next) << 48, at: GuestAddress(place.value + 8))
    }

    /// Makes `buffers` a chain and offers it; the head's number.
    @discardableResult
    mutating func offer(_ buffers: [Buffer]) throws -> UInt16 {
        let head = nextDescriptor
        for (index, buffer) in buffers.enumerated() {
            let isLast = index == buffers.count - 1
            let number = (nextDescriptor + UInt16(index)) % size
            try setDescriptor(
                Int(number), address: buffer.address, byteCount: buffer.byteCount,
                flags: (isLast ? 0 : 1) | (buffer.isWritable ? 2 : 0), next: (number + 1) % size)
        }
        nextDescriptor = (nextDescriptor + UInt16(buffers.count)) % size
        try offer(head: head)
        return head
    }

    /// Puts `head` into the available ring.
    mutating func offer(head: UInt16) throws {
        let place = GuestAddress(availableRing.value + 4 + 2 * UInt64(available % size))
        try memory.storeReleasing16(head, at: place)
        available &+= 1
        try setAvailableIndex(available)
    }

    mutating func setAvailableIndex(_ index: UInt16) throws {
        available = index
        try memory.storeReleasing16(index, at: GuestAddress(availableRing.value + 2))
    }

    /// The used elements that are new.
    mutating func takeUsed() throws -> [(head: UInt32, byteCount: UInt32)] {
        let used = try memory.loadAcquiring16(at: GuestAddress(usedRing.value + 2))
        var elements: [(UInt32, UInt32)] = []
        while seenUsed != used {
            let place = usedRing.value + 4 + 8 * UInt64(seenUsed % size)
            elements.append(
                (try memory.readUInt32(at: GuestAddress(place)), try memory.readUInt32(at: GuestAddress(place + 4))))
            seenUsed &+= 1
        }
        return elements
    }
}

/// A driver of one virtio-mmio device.
struct TestDriver {
    let guest: TestGuest
    let transport: MMIOTransport
    let line: TestLine
    var queues: [DriverQueue] = []

    init(guest: TestGuest, device: any VirtioDevice) throws {
        self.guest = guest
        line = TestLine()
        transport = try MMIOTransport(device: device, memory: guest.memory, line: line)
    }

    func read(_ register: UInt64) -> UInt32 { UInt32(transport.read(at: register, width: 4)) }
    func write(_ value: UInt32, to register: UInt64) { transport.write(UInt64(value), at: register, width: 4) }
    var status: UInt32 { read(0x70) }

    /// The features offered.
    var offered: UInt64 {
        write(0, to: 0x14)
        let low = UInt64(read(0x10))
        write(1, to: 0x14)
        return low | UInt64(read(0x10)) << 32
    }

    /// Brings the device up as the specification says, accepting `features` of those offered.
    mutating func start(features: UInt64 = 1 << 32, queueSize: UInt16 = 16) throws {
        write(0, to: 0x70)
        write(1, to: 0x70)
        write(3, to: 0x70)
        write(0, to: 0x24)
        write(UInt32(truncatingIfNeeded: features), to: 0x20)
        write(1, to: 0x24)
        write(UInt32(features >> 32), to: 0x20)
        write(11, to: 0x70)
        queues = []
        for index in 0..<transport.device!.queueSizes.count {
            let size = min(queueSize, transport.device!.queueSizes[index])
            let queue = DriverQueue(memory: guest.memory, base: 0x10_0000 + UInt64(index) * 0x8000, size: size)
            queues.append(queue)
            try guest.memory.write([UInt8](repeating: 0, count: 0x8000), at: queue.descriptorTable)
            makeReady(index)
        }
        write(15, to: 0x70)
    }

    func makeReady(_ index: Int) {
        let queue = queues[index]
        write(UInt32(index), to: 0x30)
        write(UInt32(queue.size), to: 0x38)
        for (register, address) in [
            (0x80, queue.descriptorTable), (0x90, queue.availableRing), (0xA0, queue.usedRing),
        ] as [(UInt64, GuestAddress)] {
            write(UInt32(truncatingIfNeeded: address.value), to: register)
            write(UInt32(address.value >> 32), to: register + 4)
        }
        write(1, to: 0x44)
    }

    func notify(_ queue: Int) { write(UInt32(queue), to: 0x50) }

    func acknowledge() { write(read(0x60), to: 0x64) }

    /// Offers a chain, notifies, and waits until `count` used elements have come; fewer after ten seconds.
    mutating func exchange(_ queue: Int, _ buffers: [DriverQueue.Buffer]) throws -> [(head: UInt32, byteCount: UInt32)]
    {
        try queues[queue].offer(buffers)
        notify(queue)
        return try waitForUsed(queue)
    }

    /// Waits for interrupts until something is used or the device needs a reset.
    mutating func waitForUsed(_ queue: Int) throws -> [(head: UInt32, byteCount: UInt32)] {
        while true {
            guard line.waitUntilHigh() else { return [] }
            acknowledge()
            let used = try queues[queue].takeUsed()
            if !used.isEmpty || status & 64 != 0 { return used }
        }
    }
}

/// Removes a file a test made.
func removeFile(_ path: String) { unlink(path) }
