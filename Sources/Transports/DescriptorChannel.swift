public import LinuxSystem
public import Migration
internal import Synchronization

/// A channel over a descriptor: a socket, a pipe or a file, and perhaps the process at its other end.
public final class DescriptorChannel: MigrationChannel {
    public let address: String
    public let isBidirectional: Bool
    private let descriptor: StreamDescriptor
    private let child: ChildProcess?
    /// Descriptors that came and were not taken; nil while none are kept.
    private let passed = Mutex<[PassedDescriptor]?>(nil)

    /// - Parameter child: The process behind the descriptor, whose success is part of `endSending`.
    public init(
        adopting descriptor: consuming OwnedDescriptor, address: String, offset: Int64 = 0,
        child: ChildProcess? = nil
    ) throws(ChannelError) {
        self.address = address
        self.child = child
        do throws(SystemError) {
            self.descriptor = try StreamDescriptor(adopting: descriptor)
            if self.descriptor.kind == .file && offset != 0 { try self.descriptor.seek(to: offset) }
        } catch {
            throw ChannelError(operation: "use a descriptor", address: address, reason: reason(of: error))
        }
        isBidirectional = self.descriptor.kind == .socket
    }

    public func send(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure {
        do throws(SystemError) {
            let (byteCount, duration) = try descriptor.send(&vectors)
            return BackPressure(byteCount: byteCount, duration: duration)
        } catch {
            throw failure("send", error)
        }
    }

    public func receive(into buffer: UnsafeMutableRawBufferPointer) throws(ChannelError) -> Int {
        do throws(SystemError) {
            guard var kept = passed.withLock({ $0 }) else { return try descriptor.receive(into: buffer) }
            let byteCount = try descriptor.receive(into: buffer, descriptors: &kept)
            passed.withLock { $0 = kept }
            return byteCount
        } catch {
            throw failure("receive", error)
        }
    }

    public func waitForBytes() throws(ChannelError) {
        do throws(SystemError) { try descriptor.waitForBytes() } catch { throw failure("receive", error) }
    }

    public func enableZeroCopy() throws(ChannelError) {
        do throws(SystemError) { try descriptor.enableZeroCopy() } catch {
            throw ChannelError(
                operation: "send without a copy", address: address, reason: "\(error.reason); only TCP sockets can")
        }
    }

    public func sendUncopied(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure {
        do throws(SystemError) {
            let (byteCount, duration) = try descriptor.sendUncopied(&vectors)
            return BackPressure(byteCount: byteCount, duration: duration)
        } catch {
            throw failure("send", error)
        }
    }

    public func finishZeroCopy() throws(ChannelError) -> Bool {
        do throws(SystemError) { return try descriptor.finishZeroCopy() } catch { throw failure("send", error) }
    }

    /// A command may be read from long after the migration.
    public func enableLending() -> Bool { child == nil && descriptor.enableLending() }

    public func sendLent(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure {
        do throws(SystemError) {
            let (byteCount, duration) = try descriptor.sendLent(&vectors)
            return BackPressure(byteCount: byteCount, duration: duration)
        } catch {
            throw failure("send", error)
        }
    }

    /// A command reads bytes only, whatever its end of the socket could do.
    public var passesDescriptors: Bool { child == nil && descriptor.passesDescriptors }

    public func send(_ bytes: [UInt8], passing descriptors: [PassedDescriptor]) throws(ChannelError) {
        do throws(SystemError) {
            try descriptor.send(bytes, passing: descriptors)
        } catch {
            throw failure("send", error)
        }
    }

    public func keepDescriptors() { passed.withLock { $0 = $0 ?? [] } }

    public func takeDescriptors() -> [PassedDescriptor] {
        passed.withLock { passed in
            defer { passed = nil }
            return passed ?? []
        }
    }

    public func receive(some vectors: inout MemoryVectors) throws(ChannelError) -> Int {
        do throws(SystemError) {
            return try descriptor.receive(&vectors)
        } catch {
            throw failure("receive", error)
        }
    }

    public func receive(now vectors: inout MemoryVectors) throws(ChannelError) -> Int? {
        do throws(SystemError) { return try descriptor.receiveNow(&vectors) } catch { throw failure("receive", error) }
    }

    public func receive(all vectors: inout MemoryVectors) throws(ChannelError) {
        while !vectors.isEmpty {
            let count: Int
            do throws(SystemError) {
                count = try descriptor.receive(&vectors, all: true)
            } catch {
                throw failure("receive", error)
            }
            if count == 0 {
                throw ChannelError(operation: "receive", address: address, reason: "The other side has ended")
            }
        }
    }

    public func endSending() throws(ChannelError) {
        descriptor.endSending()
        guard let child else { return }
        let ending: ChildProcess.Ending?
        do throws(SystemError) { ending = try child.wait() } catch { throw failure("send", error) }
        if let ending, ending != .exited(status: 0) {
            throw ChannelError(operation: "send", address: address, reason: "The command \(text(of: ending))")
        }
    }

    public func limitUnsentBytes(to byteCount: Int) { descriptor.limitUnsentBytes(to: byteCount) }

    public func limitUnreadBytes(to byteCount: Int) { descriptor.limitUnreadBytes(to: byteCount) }

    public var leastRoundTrip: Duration? { descriptor.leastRoundTrip }

    /// A command may lead anywhere.
    public var isWithinHost: Bool { child == nil && descriptor.isWithinHost }

    public func stopReceiving() { descriptor.stopReceiving() }

    public func shutDown() {
        descriptor.shutDown()
        // A command that does not end by itself must not keep a thread that waits for it.
        child?.terminate()
    }

    /// What went wrong; of a command that has failed, rather how it ended than that its pipe broke.
    private func failure(_ operation: String, _ error: SystemError) -> ChannelError {
        if let ending = try? child?.wait(for: .milliseconds(100)), ending != .exited(status: 0) {
            return ChannelError(
                operation: operation, address: address, reason: "The command \(text(of: ending))")
        }
        return ChannelError(operation: operation, address: address, reason: reason(of: error))
    }
}

private func text(of ending: ChildProcess.Ending) -> String {
    switch ending {
    case .exited(let status): "ended with status \(status)"
    case .signalled(let number): "was ended by signal \(number)"
    }
}

/// The kernel's words for an error, without the call.
func reason(of error: SystemError) -> String { error.reason }
