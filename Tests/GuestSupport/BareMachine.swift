public import BuiltInGuest
internal import CLinux
public import KVM
public import LinuxSystem
internal import Synchronization

/// The least machine that runs the built-in guest: KVM, memory, a serial port that only prints, a reset port.
///
/// For tests of KVM itself and of what moves memory and state, without devices, firmware or QEMU. Lines are given to
/// `onLine` on the thread of the virtual CPU that printed them, which runs no guest code meanwhile.
public final class BareMachine: @unchecked Sendable {
    // Safe: everything mutable is in the mutex or atomic; the memory belongs to the guest.
    public let memory: GuestMapping
    public let machine: KVMVirtualMachine
    public let cpus: [KVMVirtualCPU]
    /// The rings of the virtual CPUs, empty without `dirtyRingCapacity`.
    public let dirtyRings: [DirtyRing]
    public let lines = SerialLines()
    let configuration: Configuration
    let signal: RealTimeSignal

    /// What a machine is made of.
    public struct Configuration: Sendable {
        public var memoryByteCount = 32 << 20
        public var memoryKind = MemoryMapping.Kind.anonymous
        public var cpuCount = 1
        public var logsDirtyPages = false
        /// The flags of KVM's manual protection: 1 manual, 2 initially all set; 0 without.
        public var manualProtection: UInt64 = 0
        public var dirtyRingCapacity: Int?
        public var onLine: @Sendable (String) -> Void = { _ in }
        /// A virtual CPU's ring is full: take its pages; the machine then resets the rings.
        public var onDirtyRingFull: @Sendable (DirtyRing) -> Void = { _ in }
        public init() {}
    }

    struct RunState {
        var isPaused = true
        var isStopping = false
        var runningCount = 0
        /// Why it ended by itself.
        var ending: Ending?
    }

    /// How a run came to its end.
    public enum Ending: Equatable, Sendable {
        case reset
        case failed(String)
    }

    let state = Mutex(RunState())
    let resumed = Gate()
    let parked = Gate(isOpen: true)
    private let threads = Mutex<[BlockingThread]>([])

    /// Makes a machine that is paused; `boot` or `load` give it something to run.
    public init(_ configuration: Configuration) throws {
        self.configuration = configuration
        signal = try RealTimeSignal(index: 0)
        memory = try GuestMapping(configuration.memoryKind, byteCount: configuration.memoryByteCount)
        let system = try KVMSystem()
        machine = try system.makeVirtualMachine()
        try machine.setIdentityMapAddress(0xFFFB_C000)
        try machine.setTSSAddress(0xFFFB_D000)
        if configuration.manualProtection != 0 {
            try machine.enable(.manualDirtyLogProtection, configuration.manualProtection)
        }
        if let capacity = configuration.dirtyRingCapacity {
            try machine.enable(.dirtyRing, UInt64(capacity * DirtyRing.entryByteCount))
        }
        try machine.makeInterruptController()
        try machine.makeTimer()
        try machine.setMemorySlot(
            0, guestAddress: 0, hostAddress: memory.mapping.baseAddress, byteCount: configuration.memoryByteCount,
            flags: configuration.logsDirtyPages ? .logsDirtyPages : [])
        let leaves = try system.supportedCPUID()
        var cpus: [KVMVirtualCPU] = []
        for index in 0..<configuration.cpuCount {
            let cpu = try machine.makeVirtualCPU(index: index)
            try cpu.setCPUID(
                leaves.map { leaf in
                    var leaf = leaf
                    if leaf.function == 1 { leaf.ebx = leaf.ebx & 0x00FF_FFFF | UInt32(index) << 24 }
                    if leaf.function == 0xB { leaf.edx = UInt32(index) }
                    return leaf
                })
            cpus.append(cpu)
        }
        self.cpus = cpus
        var rings: [DirtyRing] = []
        if let capacity = configuration.dirtyRingCapacity {
            for cpu in cpus { rings.append(try cpu.mapDirtyRing(capacity: capacity)) }
        }
        dirtyRings = rings
    }

    deinit { stop() }

    /// Loads the built-in guest and sets the first virtual CPU to its entry; `resume` then runs it.
    ///
    /// The guest is told the TSC's frequency: measured on a busy host it would be wrong.
    public func boot(_ parameters: BuiltInGuestParameters) throws {
        var parameters = parameters
        if parameters.tscFrequency == nil { parameters.tscFrequency = try cpus[0].getTSCFrequency() }
        try boot(commandLine: parameters.commandLine)
    }

    /// As `boot` with parameters, with the command line as it is.
    public func boot(commandLine: String) throws {
        let image = BuiltInGuestImage.bytes
        let loadAddress = 0x10_0000
        let startInfo = 0x1000
        let memoryMap = 0x1100
        let line = 0x2000
        let bytes = memory.bytes
        bytes[loadAddress..<(loadAddress + image.count)].copyBytes(from: image)
        bytes[line..<(line + commandLine.utf8.count)].copyBytes(from: Array(commandLine.utf8))
        bytes[line + commandLine.utf8.count] = 0
        func store<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
            bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
        }
        store(UInt32(0x336E_C578), at: startInfo)
        store(UInt32(1), at: startInfo + 4)
        store(UInt64(line), at: startInfo + 24)
        store(UInt64(memoryMap), at: startInfo + 40)
        store(UInt32(1), at: startInfo + 48)
        store(UInt64(0), at: memoryMap)
        store(UInt64(bytes.count), at: memoryMap + 8)
        store(UInt32(1), at: memoryMap + 16)
        let entry = bytes.loadUnaligned(fromByteOffset: loadAddress + 24, as: UInt64.self)

        var special = try cpus[0].getSpecialRegisters()
        special.cs = Self.flatSegment(selector: 0x08, type: 11)
        special.ss = Self.flatSegment(selector: 0x10, type: 3)
        special.ds = special.ss
        special.es = special.ss
        special.cr0 = 0x11
        try cpus[0].setSpecialRegisters(special)
        var registers = try cpus[0].getRegisters()
        registers.rip = entry
        registers.rbx = UInt64(startInfo)
        registers.rflags = 2
        try cpus[0].setRegisters(registers)
    }

    private static func flatSegment(selector: UInt16, type: UInt8) -> kvm_segment {
        var segment = kvm_segment()
        segment.limit = 0xFFFF_FFFF
        segment.selector = selector
        segment.type = type
        segment.present = 1
        segment.s = 1
        segment.db = 1
        segment.g = 1
        return segment
    }

    /// Lets the virtual CPUs run; starts their threads the first time.
    public func resume() throws {
        try threads.withLock { threads in
            guard threads.isEmpty else { return }
            for cpu in cpus {
                threads.append(try BlockingThread(name: "cpu \(cpu.index)") { [unowned self] in run(cpu) })
            }
        }
        state.withLock { state in
            state.isPaused = false
            for cpu in cpus { cpu.clearExitRequest() }
            resumed.open()
        }
    }

    /// Stops every virtual CPU at once and waits until all are out of the guest.
    ///
    /// Called on a virtual CPU's own thread (from `onLine`) it would wait for itself; do not.
    public func pause() {
        state.withLock { state in
            state.isPaused = true
            resumed.close()
        }
        for cpu in cpus { cpu.kick(with: signal) }
        parked.wait()
    }

    /// Ends the threads; the machine cannot run again.
    public func stop() {
        state.withLock { state in
            state.isStopping = true
            state.isPaused = true
        }
        for cpu in cpus { cpu.kick(with: signal) }
        resumed.open()
        for thread in threads.withLock({ $0 }) { thread.join() }
        lines.end()
    }

    /// Why the guest ended by itself, nil if it did not.
    public var ending: Ending? { state.withLock { $0.ending } }
}

/// Guest memory that a class can own.
public final class GuestMapping: @unchecked Sendable {
    // Safe: the bytes belong to the guest; tests that touch them while it runs know what they do.
    public let mapping: MemoryMapping
    public init(_ kind: MemoryMapping.Kind, byteCount: Int) throws(SystemError) {
        mapping = try MemoryMapping(kind, byteCount: byteCount)
    }
    public var bytes: UnsafeMutableRawBufferPointer { mapping.bytes }
}
