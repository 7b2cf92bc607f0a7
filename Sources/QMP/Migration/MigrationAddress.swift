/// Where a migration goes to or comes from: the `uri` or `channels` argument, or `-incoming`.
///
///     tcp:HOST:PORT[,to=PORT][,ipv4=on|off][,ipv6=on|off]   unix:PATH   vsock:CID:PORT   fd:NAME|NUMBER
///     exec:COMMAND   rdma:HOST:PORT   file:PATH[,offset=BYTES]
///
/// See QEMU qapi/migration.json, MigrationAddress.
public enum MigrationAddress: Equatable, Sendable {
    /// `lastPort`: a listener takes the first free port from `port` to here.
    case tcp(host: String, port: UInt16, lastPort: UInt16?, ipv4: Bool?, ipv6: Bool?)
    case unix(path: String)
    case vsock(cid: String, port: String)
    /// A name given with `getfd`, or a number.
    case descriptor(String)
    /// Program and arguments.
    case command([String])
    case rdma(host: String, port: String)
    /// From byte `offset` of the file on.
    case file(path: String, offset: UInt64)

    /// Reads a URI.
    public init(uri: String) throws(QMPError) {
        guard let colon = uri.firstIndex(of: ":") else { throw MigrationAddress.unknownProtocol }
        let rest = String(uri[uri.index(after: colon)...])
        switch uri[..<colon] {
        case "tcp": self = try MigrationAddress.tcp(parsing: rest)
        case "unix": self = .unix(path: rest)
        case "fd": self = .descriptor(rest)
        case "exec": self = .command(["/bin/sh", "-c", rest])
        case "vsock":
            let (cid, port) = try MigrationAddress.split(rest)
            self = .vsock(cid: cid, port: port)
        case "rdma":
            let (host, port) = try MigrationAddress.split(rest)
            self = .rdma(host: host, port: port)
        case "file": self = try MigrationAddress.file(parsing: rest)
        default: throw MigrationAddress.unknownProtocol
        }
    }

    /// Takes `uri` or `channels` out of the arguments of `migrate` and `migrate-incoming`.
    public init(taking arguments: inout Arguments) throws(QMPError) {
        let channels = try arguments.optionalObjects("channels")
        guard let channels else {
            self = try MigrationAddress(uri: try arguments.string("uri"))
            return
        }
        if arguments.has("uri") {
            throw QMPError(
                "'uri' and 'channels' arguments are mutually exclusive; exactly one of the two should be present")
        }
        guard channels.count == 1, var channel = channels.first else {
            throw QMPError("Channel list must have one entry, not \(channels.count)")
        }
        _ = try channel.word("channel-type", as: ChannelType.self)
        var address = try channel.object("addr")
        self = try MigrationAddress(members: &address)
        try address.finish()
        try channel.finish()
    }

    private enum ChannelType: String { case main }
    private enum Transport: String { case socket, exec, rdma, file }
    private enum SocketType: String { case inet, unix, vsock, fd }

    private init(members: inout Arguments) throws(QMPError) {
        switch try members.word("transport", as: Transport.self) {
        case .exec: self = .command(try members.strings("args"))
        case .rdma: self = .rdma(host: try members.string("host"), port: try members.string("port"))
        case .file: self = .file(path: try members.string("filename"), offset: try members.unsigned("offset"))
        case .socket:
            switch try members.word("type", as: SocketType.self) {
            case .unix: self = .unix(path: try members.string("path"))
            case .vsock: self = .vsock(cid: try members.string("cid"), port: try members.string("port"))
            case .fd: self = .descriptor(try members.string("str"))
            case .inet:
                let (host, port) = (try members.string("host"), try members.string("port"))
                let last = try members.optionalUnsigned("to", bitCount: 16)
                self = .tcp(
                    host: host, port: try MigrationAddress.port(port, in: "\(host):\(port)"),
                    lastPort: last.map { UInt16($0) }, ipv4: try members.optionalBool("ipv4"),
                    ipv6: try members.optionalBool("ipv6"))
            }
        }
    }
}

/// Parts of URIs.
extension MigrationAddress {
    private static let unknownProtocol = QMPError("Parameter 'uri' expects a valid migration protocol")

    private static func tcp(parsing text: String) throws(QMPError) -> MigrationAddress {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        let (host, digits) = try split(parts[0])
        let first = try port(digits, in: text)
        var last: UInt16?
        var ipv4: Bool?
        var ipv6: Bool?
        for option in parts.dropFirst() {
            let (name, value) = assignment(option)
            switch name {
            case "to": last = try port(value ?? "", in: text)
            case "ipv4": ipv4 = try flag(value, option)
            case "ipv6": ipv6 = try flag(value, option)
            default: throw QMPError("Invalid parameter '\(name)'")
            }
        }
        return .tcp(host: host, port: first, lastPort: last, ipv4: ipv4, ipv6: ipv6)
    }

    private static func file(parsing text: String) throws(QMPError) -> MigrationAddress {
        guard let comma = text.range(of: ",offset=") else { return .file(path: text, offset: 0) }
        let digits = text[comma.upperBound...]
        guard let offset = byteCount(digits) else { throw QMPError("file URI has bad offset \(digits)") }
        return .file(path: String(text[..<comma.lowerBound]), offset: offset)
    }

    /// A size as people write it: 4096, 0x1000, 4k, 2M, 1G.
    private static func byteCount(_ text: Substring) -> UInt64? {
        if text.hasPrefix("0x") { return UInt64(text.dropFirst(2), radix: 16) }
        let shifts: [Character: UInt64] = ["k": 10, "K": 10, "M": 20, "G": 30, "T": 40]
        guard let suffix = text.last, let shift = shifts[suffix] else { return UInt64(text) }
        guard let number = UInt64(text.dropLast()), number.leadingZeroBitCount > shift else { return nil }
        return number << shift
    }

    /// HOST:PORT, the host perhaps in brackets.
    private static func split(_ text: String) throws(QMPError) -> (String, String) {
        let invalid = QMPError("error parsing address '\(text)'")
        guard let colon = text.lastIndex(of: ":") else { throw invalid }
        let port = String(text[text.index(after: colon)...])
        var host = text[..<colon]
        if host.hasPrefix("[") {
            guard host.hasSuffix("]") else { throw invalid }
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw invalid
        }
        if port.isEmpty { throw invalid }
        return (String(host), port)
    }

    private static func port(_ digits: String, in text: String) throws(QMPError) -> UInt16 {
        guard let port = UInt16(digits) else { throw QMPError("'\(digits)' is no port (0 to 65535) in '\(text)'") }
        return port
    }

    private static func flag(_ value: String?, _ option: String) throws(QMPError) -> Bool {
        switch value {
        case nil, "on", "yes", "true": return true
        case "off", "no", "false": return false
        default: throw QMPError("error parsing option '\(option)': on or off")
        }
    }

    private static func assignment(_ text: String) -> (String, String?) {
        guard let equals = text.firstIndex(of: "=") else { return (text, nil) }
        return (String(text[..<equals]), String(text[text.index(after: equals)...]))
    }
}

extension String {
    /// Where `part` first stands; the standard library has it only for single characters.
    fileprivate func range(of part: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(part) { return start..<index(start, offsetBy: part.count) }
            start = index(after: start)
        }
        return nil
    }
}
