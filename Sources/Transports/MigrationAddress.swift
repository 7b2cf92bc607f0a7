internal import LinuxSystem

/// Where a migration goes to or comes from, in QEMU's words.
///
///     tcp:HOST:PORT[,to=PORT][,ipv4=on|off][,ipv6=on|off]   an empty host is any, [::1] an IPv6 address
///     unix:PATH
///     fd:NAME-or-NUMBER
///     exec:COMMAND
///     file:PATH[,offset=N]                                  N in decimal, 0x… or with a suffix k, M, G
public enum MigrationAddress: Equatable, Sendable, CustomStringConvertible {
    /// A listener takes the first free port from `port` to `lastPort`.
    case tcp(host: String, port: UInt16, lastPort: UInt16, family: IPFamily)
    case unix(path: String)
    /// A descriptor: one that `getfd` named, or an open one by its number.
    case descriptor(String)
    /// A program and its arguments.
    case exec([String])
    case file(path: String, offset: Int64)

    /// Which kinds of address a host name may become.
    public enum IPFamily: String, Equatable, Sendable {
        case any
        case ipv4
        case ipv6
    }

    /// Why a text is no address.
    public struct ParseError: Error, Equatable, CustomStringConvertible {
        public let description: String
    }

    /// Reads an address as QEMU's `migrate`, `-incoming` and `migrate-incoming` take it.
    public init(parsing text: String) throws(ParseError) {
        guard let colon = text.firstIndex(of: ":") else {
            throw ParseError(description: "'\(text)' is no migration address: tcp:, unix:, fd:, exec: or file:.")
        }
        let rest = String(text[text.index(after: colon)...])
        switch text[..<colon] {
        case "tcp": self = try Self.parseTCP(rest, text)
        case "unix":
            guard !rest.isEmpty else { throw ParseError(description: "'\(text)' has no path after unix:.") }
            self = .unix(path: rest)
        case "fd":
            guard !rest.isEmpty else { throw ParseError(description: "'\(text)' has no descriptor after fd:.") }
            self = .descriptor(rest)
        case "exec":
            guard !rest.isEmpty else { throw ParseError(description: "'\(text)' has no command after exec:.") }
            self = .exec(["/bin/sh", "-c", rest])
        case "file": self = try Self.parseFile(rest, text)
        case "rdma": throw ParseError(description: "'\(text)': rdma: is not built in.")
        default:
            throw ParseError(description: "'\(text)' is no migration address: tcp:, unix:, fd:, exec: or file:.")
        }
    }

    private static func parseTCP(_ rest: String, _ text: String) throws(ParseError) -> MigrationAddress {
        var options = rest.split(separator: ",", omittingEmptySubsequences: false)
        let hostAndPort = options.removeFirst()
        guard let colon = hostAndPort.lastIndex(of: ":") else {
            throw ParseError(description: "'\(text)' lacks a port: tcp:HOST:PORT.")
        }
        var host = hostAndPort[..<colon]
        if host.hasPrefix("[") {
            guard host.hasSuffix("]") else { throw ParseError(description: "'\(text)' lacks a ] after its address.") }
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw ParseError(description: "'\(text)': an IPv6 address stands in brackets, tcp:[ADDRESS]:PORT.")
        }
        let port = try parsePort(hostAndPort[hostAndPort.index(after: colon)...], text)
        var last = port
        var allowed: (ipv4: Bool?, ipv6: Bool?) = (nil, nil)
        for option in options {
            if option.hasPrefix("to=") {
                last = try parsePort(option.dropFirst(3), text)
                guard last >= port else {
                    throw ParseError(description: "'\(text)': ports end at \(last), before they begin at \(port).")
                }
                continue
            }
            switch option {
            case "ipv4", "ipv4=on": allowed.ipv4 = true
            case "ipv4=off": allowed.ipv4 = false
            case "ipv6", "ipv6=on": allowed.ipv6 = true
            case "ipv6=off": allowed.ipv6 = false
            default: throw ParseError(description: "'\(option)' in '\(text)' is no option of tcp:.")
            }
        }
        return .tcp(host: String(host), port: port, lastPort: last, family: try family(allowed, text))
    }

    private static func family(_ allowed: (ipv4: Bool?, ipv6: Bool?), _ text: String) throws(ParseError) -> IPFamily {
        switch allowed {
        case (false, false): throw ParseError(description: "'\(text)' allows neither IPv4 nor IPv6.")
        case (true, true), (nil, nil): return .any
        case (true, _), (_, false): return .ipv4
        case (_, true), (false, _): return .ipv6
        }
    }

    private static func parsePort(_ digits: Substring, _ text: String) throws(ParseError) -> UInt16 {
        guard let port = UInt16(digits) else {
            throw ParseError(description: "'\(digits)' in '\(text)' is no port (0 to 65535).")
        }
        return port
    }

    private static func parseFile(_ rest: String, _ text: String) throws(ParseError) -> MigrationAddress {
        var path = rest[...]
        var offset: Int64 = 0
        if let range = rest.lastRange(of: ",offset=") {
            path = rest[..<range.lowerBound]
            let digits = rest[range.upperBound...]
            guard let value = parseSize(digits) else {
                throw ParseError(description: "'\(digits)' in '\(text)' is no offset.")
            }
            offset = value
        }
        guard !path.isEmpty else { throw ParseError(description: "'\(text)' has no path after file:.") }
        return .file(path: String(path), offset: offset)
    }

    private static func parseSize(_ text: Substring) -> Int64? {
        if text.hasPrefix("0x") { return Int64(text.dropFirst(2), radix: 16).flatMap { $0 >= 0 ? $0 : nil } }
        let shift: Int64? =
            switch text.last {
            case "k", "K": 10
            case "M": 20
            case "G": 30
            case "T": 40
            default: nil
            }
        guard let value = Int64(shift == nil ? text : text.dropLast()), value >= 0 else { return nil }
        let (size, overflow) = value.multipliedReportingOverflow(by: 1 << (shift ?? 0))
        return overflow ? nil : size
    }

    public var description: String {
        switch self {
        case .tcp(let host, let port, let last, let family):
            SocketAddress.tcp(host: host, port: port).description + (last == port ? "" : ",to=\(last)")
                + (family == .any ? "" : ",\(family.rawValue)=on")
        case .unix(let path): "unix:\(path)"
        case .descriptor(let name): "fd:\(name)"
        case .exec(let arguments): "exec:\(arguments.last ?? "")"
        case .file(let path, let offset): "file:\(path)" + (offset == 0 ? "" : ",offset=\(offset)")
        }
    }
}

extension String {
    /// The last place where `other` occurs.
    fileprivate func lastRange(of other: String) -> Range<Index>? {
        var index = endIndex
        while index > startIndex {
            index = self.index(before: index)
            if self[index...].hasPrefix(other) { return index..<self.index(index, offsetBy: other.count) }
        }
        return nil
    }
}
