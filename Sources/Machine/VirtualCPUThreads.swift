internal import Devices
internal import KVM
internal import LinuxSystem
internal import Synchronization

/// What happens to a virtual CPU that only the machine can answer. Called on the virtual CPU's thread; must not block.
protocol VirtualCPUEventReceiver: AnyObject, Sendable {
    /// The guest wants the whole machine to do something.
    func receive(_ event: SystemEvent)
    /// A virtual CPU cannot go on; it waits until it is told otherwise.
    func virtualCPUFailed(_ failure: VirtualCPUFailure)
}

/// Why a virtual CPU cannot go on.
public struct VirtualCPUFailure: Error, Equatable, CustomStringConvertible {
    public let index: Int
    public let reason: String
    public var description: String { "Virtual CPU \(index) stopped: \(reason)" }
}

/// The threads that run the virtual CPUs.
///
///     paused --resume--> running --pause--> paused        any --end--> ended
///
/// All are stopped at once: each is kicked first, and only then is any waited for. A virtual CPU that is paused has
/// completed its last instruction, so that its state can be read and set from any thread.
final class VirtualCPUThreads: Sendable {
    private enum Order: Sendable { case pause, run, end }

    private struct State: Sendable {
        var order = Order.pause
        /// Threads that have not come to rest since the last resume.
        var activeCount = 0
        var threadIDs: [Int32]
    }

    let cpus: [KVMVirtualCPU]
    private let dirtyRings: DirtyRingLog?
    private let ports: Bus
    private let memory: Bus
    let signal: RealTimeSignal
    private let state: Mutex<State>
    /// One per thread, opened by each resume and closed by the thread when it has passed: so every thread passes once a
    /// resume, also one that is so slow that it is told to stop before it came.
    private let runGates: [Gate]
    /// Open while no thread runs its virtual CPU.
    private let quietGate = Gate(isOpen: true)
    /// Open while the threads are to stop: a virtual CPU that cannot go on waits here.
    let stopGate = Gate(isOpen: true)
    let throttlePercentage = Atomic<Int>(0)
    let throttleGate = Gate()
    /// Opened when the throttle's thread is to end.
    let throttleEnd = Gate()
    let sleepsWanted: [SharedFlag]
    /// Virtual CPUs that were told to wait and have not seen it yet.
    let holdsWanted: [SharedFlag]
    /// Closed while the virtual CPU has to wait.
    let holdGates: [Gate]
    private let isStopping = Atomic<Bool>(true)
    private let threads = Mutex<[BlockingThread]>([])
    private struct Receiver: Sendable { weak let object: (any VirtualCPUEventReceiver)? }
    private let receiver = Mutex(Receiver(object: nil))

    init(cpus: [KVMVirtualCPU], dirtyRings: DirtyRingLog? = nil, ports: Bus, memory: Bus) throws(SystemError) {
        self.cpus = cpus
        self.dirtyRings = dirtyRings
        self.ports = ports
        self.memory = memory
        signal = try RealTimeSignal(index: 0)
        sleepsWanted = cpus.map { _ in SharedFlag() }
        holdsWanted = cpus.map { _ in SharedFlag() }
        holdGates = cpus.map { _ in Gate(isOpen: true) }
        runGates = cpus.map { _ in Gate() }
        state = Mutex(State(threadIDs: Array(repeating: 0, count: cpus.count)))
    }

    /// Starts the threads; the virtual CPUs are paused.
    func start(reportingTo receiver: any VirtualCPUEventReceiver) throws(SystemError) {
        self.receiver.withLock { $0 = Receiver(object: receiver) }
        for cpu in cpus {
            let thread = try BlockingThread(name: "vcpu-\(cpu.index)") { [self] in run(cpu) }
            threads.withLock { $0.append(thread) }
        }
        let throttle = try BlockingThread(name: "throttle") { [self] in runThrottle() }
        threads.withLock { $0.append(throttle) }
    }

    /// Lets all virtual CPUs run.
    func resume() {
        for cpu in cpus { cpu.clearExitRequest() }
        for flag in holdsWanted { flag.store(false) }
        state.withLock {
            precondition($0.order == .pause, "virtual CPUs are resumed twice")
            $0.order = .run
            $0.activeCount = cpus.count
        }
        quietGate.close()
        stopGate.close()
        isStopping.store(false, ordering: .releasing)
        for gate in runGates { gate.open() }
    }

    /// Stops all virtual CPUs; when this returns none runs guest code or handles an exit.
    ///
    /// Not on a virtual CPU's own thread.
    func pause() {
        let wasRunning = state.withLock { state in
            guard state.order == .run else { return false }
            state.order = .pause
            return true
        }
        if wasRunning { stopAll() }
    }

    /// Ends the threads, for good.
    func end() {
        state.withLock { $0.order = .end }
        stopAll()
        throttlePercentage.store(-1, ordering: .relaxed)
        throttleGate.open()
        throttleEnd.open()
        for gate in runGates { gate.open() }
        for thread in threads.withLock({ $0 }) { thread.join() }
    }

    private func stopAll() {
        isStopping.store(true, ordering: .sequentiallyConsistent)
        for cpu in cpus { cpu.kick(with: signal) }
        stopGate.open()
        for gate in holdGates { gate.open() }
        quietGate.wait()
    }

    var isStopped: Bool { isStopping.load(ordering: .sequentiallyConsistent) }

    /// The kernel's ids of the threads, 0 for one that has not started yet.
    var threadIDs: [Int32] { state.withLock { $0.threadIDs } }

    // MARK: The threads

    private func run(_ cpu: KVMVirtualCPU) {
        cpu.bindToCurrentThread()
        state.withLock { $0.threadIDs[cpu.index] = ThreadIdentity.current.number }
        while true {
            runGates[cpu.index].wait()
            runGates[cpu.index].close()
            if state.withLock({ $0.order }) == .end { return }
            runUntilStopped(cpu)
            if state.withLock({ state in
                state.activeCount -= 1
                return state.activeCount == 0
            }) {
                quietGate.open()
            }
        }
    }

    private func runUntilStopped(_ cpu: KVMVirtualCPU) {
        do {
            while !isStopping.load(ordering: .acquiring) {
                if let failure = try step(cpu) { return fail(cpu, failure) }
            }
            try cpu.completeExit()
        } catch { fail(cpu, "\(error)") }
    }

    /// A failed virtual CPU waits like a paused one until all are paused; the others run on until the machine reacts.
    private func fail(_ cpu: KVMVirtualCPU, _ reason: String) {
        receiver.withLock { $0.object }?.virtualCPUFailed(VirtualCPUFailure(index: cpu.index, reason: reason))
        stopGate.wait()
    }

    /// Runs until the next exit and handles it; why the virtual CPU cannot go on, if it cannot.
    private func step(_ cpu: KVMVirtualCPU) throws(SystemError) -> String? {
        switch try cpu.run() {
        case .portWrite(let port, let width, let bytes):
            for start in stride(from: 0, to: bytes.byteCount, by: width) {
                ports.write(value(bytes, from: start, width: width), at: UInt64(port), width: width)
            }
        case .portRead(let port, let width, var bytes):
            for start in stride(from: 0, to: bytes.byteCount, by: width) {
                store(ports.read(at: UInt64(port), width: width), in: &bytes, from: start, width: width)
            }
        case .memoryWrite(let address, let bytes):
            memory.write(value(bytes, from: 0, width: bytes.byteCount), at: address, width: bytes.byteCount)
        case .memoryRead(let address, var bytes):
            store(memory.read(at: address, width: bytes.byteCount), in: &bytes, from: 0, width: bytes.byteCount)
        case .interrupted: handleKick(cpu)
        case .dirtyRingFull: try dirtyRings?.collect(from: cpu.index, isFull: true)
        case .shutdown: return stopAfter(.reset)
        case .systemEvent(let type):
            switch type {
            case 1: return stopAfter(.shutdown)
            case 2: return stopAfter(.reset)
            default: return "the kernel reports system event \(type)."
            }
        case .entryFailed(let reason): return "the processor refused its state (0x\(hex(reason)))."
        case .internalError(let suberror, let instruction):
            let bytes = instruction.map { hex(UInt64($0)) }.joined(separator: " ")
            return "KVM internal error \(suberror)" + (bytes.isEmpty ? "." : " at the instruction \(bytes).")
        case .other(let reason): return "KVM exit \(reason) is unknown."
        // Halts and interrupt windows are the in-kernel controller's own business; nothing asks for debug exits.
        default:
            return "KVM gave an exit that this machine does not ask for."
        }
        return nil
    }

    /// Does what the kick was for: a sleep, a wait, or nothing if it is to stop.
    private func handleKick(_ cpu: KVMVirtualCPU) {
        cpu.clearExitRequest()
        // Paired with the store in `stopAll`: it is made before the kick, so a request cleared here that was for
        // stopping is seen by the loop, which looks after this.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        sleepIfThrottled(cpu)
        waitIfHeld(cpu)
    }

    /// The guest ended itself: its event goes out and this virtual CPU runs no further.
    private func stopAfter(_ event: SystemEvent) -> String? {
        receiver.withLock { $0.object }?.receive(event)
        stopGate.wait()
        return nil
    }
}

private func value(_ bytes: borrowing RawSpan, from start: Int, width: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<width { value |= UInt64(bytes.byte(at: start + index)) << UInt64(8 * index) }
    return value
}

private func store(_ value: UInt64, in bytes: inout MutableRawSpan, from start: Int, width: Int) {
    for index in 0..<width { bytes.setByte(UInt8(truncatingIfNeeded: value >> UInt64(8 * index)), at: start + index) }
}

extension RawSpan {
    fileprivate func byte(at offset: Int) -> UInt8 { unsafeLoad(fromByteOffset: offset, as: UInt8.self) }
}

extension MutableRawSpan {
    @_lifetime(self: copy self)
    fileprivate mutating func setByte(_ value: UInt8, at offset: Int) {
        storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
    }
}

/// Slowing the guest down: of each period a virtual CPU sleeps a share.
extension VirtualCPUThreads {
    /// How long a virtual CPU runs between two sleeps, as in QEMU.
    fileprivate static let slice: Duration = .milliseconds(10)

    /// Makes every virtual CPU sleep `percentage` of its time, 0 to 99; 0 lets it run.
    func setThrottle(percentage: Int) {
        precondition((0...99).contains(percentage), "a throttle of \(percentage) %")
        throttlePercentage.store(percentage, ordering: .relaxed)
        throttleGate.open()
    }

    /// The throttle's own thread: interrupts each virtual CPU once a period, and it sleeps before it goes on.
    func runThrottle() {
        while true {
            throttleGate.wait()
            let percentage = throttlePercentage.load(ordering: .relaxed)
            if percentage < 0 { return }
            if percentage == 0 {
                throttleGate.close()
                // A throttle set between the look and the closing must not wait for the next.
                if throttlePercentage.load(ordering: .relaxed) != 0 { throttleGate.open() }
                continue
            }
            for (index, cpu) in cpus.enumerated() {
                sleepsWanted[index].store(true)
                cpu.kick(with: signal)
            }
            _ = throttleEnd.wait(for: Self.slice * 100 / (100 - percentage))
        }
    }

    /// Makes a virtual CPU wait from now on, or lets it run again.
    ///
    /// A machine that is paused and resumed forgets who was held.
    func hold(_ waits: Bool, _ index: Int) {
        if !waits { return holdGates[index].open() }
        guard holdGates[index].isOpen else { return }
        holdGates[index].close()
        holdsWanted[index].store(true)
        // A pause that came between opens the gate again, after which nobody waits at it.
        if isStopped { return holdGates[index].open() }
        cpus[index].kick(with: signal)
    }

    /// Waits if it was told to; an order to stop ends that.
    func waitIfHeld(_ cpu: KVMVirtualCPU) {
        guard holdsWanted[cpu.index].exchange(false) else { return }
        holdGates[cpu.index].wait()
    }

    /// Sleeps if the throttle asked for it; an order to stop ends the sleep.
    func sleepIfThrottled(_ cpu: KVMVirtualCPU) {
        guard sleepsWanted[cpu.index].exchange(false) else { return }
        let percentage = throttlePercentage.load(ordering: .relaxed)
        guard percentage > 0 else { return }
        _ = stopGate.wait(for: Self.slice * percentage / (100 - percentage))
    }
}

/// A flag in a place of its own, for arrays.
final class SharedFlag: Sendable {
    private let value = Atomic<Bool>(false)
    func store(_ newValue: Bool) { value.store(newValue, ordering: .releasing) }
    func exchange(_ newValue: Bool) -> Bool { value.exchange(newValue, ordering: .acquiringAndReleasing) }
}
