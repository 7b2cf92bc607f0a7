internal import CLinux
internal import KVM
internal import LinuxSystem
internal import Synchronization

extension BareMachine {
    /// The loop of a virtual CPU's thread.
    func run(_ cpu: KVMVirtualCPU) {
        cpu.bindToCurrentThread()
        while enterRun() {
            while !state.withLock({ $0.isPaused }) {
                guard let ending = runOnce(cpu) else { continue }
                finish(ending)
            }
            try? cpu.completeExit()
            leaveRun()
        }
    }

    /// Waits until the machine runs; false when it stops.
    private func enterRun() -> Bool {
        while true {
            resumed.wait()
            let decision = state.withLock { state -> Bool? in
                if state.isStopping { return false }
                if state.isPaused { return nil }
                state.runningCount += 1
                parked.close()
                return true
            }
            if let decision { return decision }
        }
    }

    private func leaveRun() {
        state.withLock { state in
            state.runningCount -= 1
            if state.runningCount == 0 { parked.open() }
        }
    }

    /// The guest has come to its end: no virtual CPU runs any more.
    private func finish(_ ending: Ending) {
        state.withLock { state in
            if state.ending == nil { state.ending = ending }
            state.isPaused = true
            resumed.close()
        }
        for cpu in cpus { cpu.kick(with: signal) }
        lines.end()
    }

    /// One run up to an exit; how the guest ended, if it did.
    private func runOnce(_ cpu: KVMVirtualCPU) -> Ending? {
        do {
            switch try cpu.run() {
            case .portWrite(let port, _, let bytes): return write(bytes, to: port)
            case .portRead(let port, _, var bytes):
                for index in 0..<bytes.byteCount {
                    bytes.storeBytes(of: Self.value(of: port), toByteOffset: index, as: UInt8.self)
                }
            case .memoryRead(_, var bytes):
                for index in 0..<bytes.byteCount { bytes.storeBytes(of: 0xFF, toByteOffset: index, as: UInt8.self) }
            case .dirtyRingFull:
                configuration.onDirtyRingFull(dirtyRings[cpu.index])
                _ = try machine.resetDirtyRings()
            case .shutdown: return .reset
            case .internalError(let suberror, let instruction):
                let registers = try cpu.getRegisters()
                return .failed(
                    "KVM internal error \(suberror) at \(String(registers.rip, radix: 16)), code \(instruction)")
            case .entryFailed(let reason): return .failed("entry failed, reason \(reason)")
            case .other(let reason): return .failed("exit \(reason)")
            default: break
            }
        } catch { return .failed("\(error)") }
        return nil
    }

    /// The serial port's registers, always ready and with a FIFO; everything else floats.
    private static func value(of port: UInt16) -> UInt8 {
        switch port {
        case 0x3FA: 0xC1
        case 0x3FD: 0x60
        default: 0xFF
        }
    }

    private func write(_ bytes: RawSpan, to port: UInt16) -> Ending? {
        switch port {
        case 0x3F8:
            for index in 0..<bytes.byteCount {
                let byte = bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)
                if byte == 1 { continue }  // the divisor: the guest sets it once, and prints text only
                if let line = lines.append(byte) { configuration.onLine(line) }
            }
        case 0x64: return bytes.unsafeLoad(as: UInt8.self) == 0xFE ? .reset : nil
        default: break
        }
        return nil
    }
}
