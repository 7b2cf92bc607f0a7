internal import LinuxSystem
public import Migration

/// Makes the transport that an address asks for.
///
/// `descriptor` gives what `getfd` stored under a name, or a copy of an open descriptor by its number, and is asked
/// for `fd:` only; the transport owns what it gives. With several channels NAME is the main one, and the others are NAME-1,
/// NAME-2 and so on, in the order in which the source opens them (the preempt channel first, then multifd's).
public enum Transports {
    public typealias DescriptorLookup = @Sendable (String) throws -> Int32

    /// The source's end.
    ///
    /// - Throws: `ChannelError` that names the address and the reason.
    public static func connector(
        for address: MigrationAddress, descriptor: @escaping DescriptorLookup = noDescriptor
    ) throws(ChannelError) -> any MigrationConnector {
        switch address {
        case .tcp(let host, let port, _, let family):
            try SocketConnector(target: .tcp(host: host, port: port), family: family.socketFamily)
        case .unix(let path): try SocketConnector(target: .unix(path: path), family: .any)
        case .descriptor(let name):
            DescriptorConnector(try channel(named: name, address, descriptor), name: name) {
                name throws(ChannelError) in try channel(named: name, .descriptor(name), descriptor)
            }
        case .exec(let arguments): SingleTransport(try command(arguments, address))
        case .file(let path, let offset):
            SingleTransport(
                try file(path, offset: offset, address, access: offset == 0 ? .replacing : .readingAndWriting))
        }
    }

    /// The destination's end. Listens when this returns.
    ///
    /// - Throws: `ChannelError` that names the address and the reason.
    public static func listener(
        for address: MigrationAddress, descriptor: DescriptorLookup = noDescriptor
    ) throws(ChannelError) -> any MigrationListener {
        switch address {
        case .tcp(let host, let port, let lastPort, let family):
            return try SocketListener(
                on: .tcp(host: host, port: port), lastPort: lastPort, family: family.socketFamily)
        case .unix(let path): return try SocketListener(on: .unix(path: path), lastPort: 0, family: .any)
        case .descriptor(let name):
            let number = try number(named: name, address, descriptor)
            if ListeningSocket.isListening(number) {
                return SocketListener(
                    adopting: ListeningSocket(listening: OwnedDescriptor(adopting: number), name: name),
                    address: address.description)
            }
            let main = try DescriptorChannel(
                adopting: OwnedDescriptor(adopting: number), address: address.description)
            var others: [DescriptorChannel] = []
            while others.count <= Self.maximumChannelCount,
                let number = try? descriptor("\(name)-\(others.count + 1)")
            {
                others.append(
                    try DescriptorChannel(
                        adopting: OwnedDescriptor(adopting: number), address: "fd:\(name)-\(others.count + 1)"))
            }
            return others.isEmpty ? SingleTransport(main) : DescriptorListener([main] + others)
        case .exec(let arguments): return SingleTransport(try command(arguments, address))
        case .file(let path, let offset):
            return SingleTransport(try file(path, offset: offset, address, access: .reading))
        }
    }

    /// Multifd channels; there may be a preempt channel beside them.
    private static let maximumChannelCount = 255

    /// Says that there is no descriptor of any name.
    @Sendable public static func noDescriptor(_ name: String) throws -> Int32 {
        throw ChannelError(operation: "find a descriptor", address: "fd:\(name)", reason: "No descriptor has this name")
    }

    private static func number(
        named name: String, _ address: MigrationAddress, _ lookup: DescriptorLookup
    ) throws(ChannelError) -> Int32 {
        do {
            return try lookup(name)
        } catch let error as ChannelError {
            throw error
        } catch {
            throw ChannelError(operation: "find a descriptor", address: address.description, reason: "\(error)")
        }
    }

    private static func channel(
        named name: String, _ address: MigrationAddress, _ lookup: DescriptorLookup
    ) throws(ChannelError) -> DescriptorChannel {
        let number = try number(named: name, address, lookup)
        return try DescriptorChannel(adopting: OwnedDescriptor(adopting: number), address: address.description)
    }

    private static func file(
        _ path: String, offset: Int64, _ address: MigrationAddress, access: OwnedDescriptor.Access
    ) throws(ChannelError) -> DescriptorChannel {
        do throws(SystemError) {
            let descriptor = try OwnedDescriptor(opening: path, for: access)
            return try wrap(descriptor, address, offset: offset)
        } catch {
            throw ChannelError(operation: "open", address: address.description, reason: reason(of: error))
        }
    }

    /// Starts a command whose standard input and output are one socket: it can answer if it wants to.
    private static func command(
        _ arguments: [String], _ address: MigrationAddress
    ) throws(ChannelError) -> DescriptorChannel {
        do throws(SystemError) {
            let pair = try Socket.pair()
            let child = try ChildProcess(
                program: arguments[0], arguments: Array(arguments.dropFirst()),
                descriptors: [
                    .init(pair.second.descriptor.number, as: 0), .init(pair.second.descriptor.number, as: 1),
                    .init(2, as: 2),
                ])
            // Our end as a copy: the pair is closed here, and with it the command's end of it.
            return try wrap(try pair.first.descriptor.duplicate(), address, child: child)
        } catch {
            throw ChannelError(operation: "run", address: address.description, reason: reason(of: error))
        }
    }

    private static func wrap(
        _ descriptor: consuming OwnedDescriptor, _ address: MigrationAddress, offset: Int64 = 0,
        child: ChildProcess? = nil
    ) throws(SystemError) -> DescriptorChannel {
        do throws(ChannelError) {
            return try DescriptorChannel(
                adopting: descriptor, address: address.description, offset: offset, child: child)
        } catch {
            throw SystemError(call: error.operation, subject: error.address, number: 0)
        }
    }
}

extension MigrationAddress.IPFamily {
    fileprivate var socketFamily: SocketFamily {
        switch self {
        case .any: .any
        case .ipv4: .ipv4
        case .ipv6: .ipv6
        }
    }
}
