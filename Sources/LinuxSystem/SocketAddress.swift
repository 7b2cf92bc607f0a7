internal import CLinux
internal import Glibc

/// Where a stream socket listens or connects, in the words of QEMU's migration URIs.
///
/// `tcp:HOST:PORT` (`tcp:[::1]:4444`; an empty host means any), `unix:PATH`.
public enum SocketAddress: Equatable, Sendable, CustomStringConvertible {
    case tcp(host: String, port: UInt16)
    case unix(path: String)

    /// Why a text is no address.
    public struct ParseError: Error, Equatable, CustomStringConvertible {
        public let description: String
    }

    /// Reads an address as a person writes it.
    public init(parsing text: String) throws(ParseError) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard !path.isEmpty else { throw ParseError(description: "'\(text)' has no path after unix:.") }
            self = .unix(path: path)
        } else if text.hasPrefix("tcp:") {
            let rest = text.dropFirst(4)
            guard let colon = rest.lastIndex(of: ":") else {
                throw ParseError(description: "'\(text)' lacks a port: tcp:HOST:PORT.")
            }
            var host = rest[..<colon]
            if host.hasPrefix("[") && host.hasSuffix("]") { host = host.dropFirst().dropLast() }
            let digits = rest[rest.index(after: colon)...]
            guard let port = UInt16(digits) else {
                throw ParseError(description: "'\(digits)' in '\(text)' is no port (0 to 65535).")
            }
            self = .tcp(host: String(host), port: port)
        } else {
            throw ParseError(description: "'\(text)' is no socket address: tcp:HOST:PORT or unix:PATH.")
        }
    }

    public var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "tcp:[\(host)]:\(port)" : "tcp:\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }

    /// Calls `body` with each kernel address this one stands for, until one call returns.
    func tryEach<Value>(
        passive: Bool, family wanted: SocketFamily = .any,
        _ body: (_ family: Int32, _ address: UnsafePointer<sockaddr>, _ length: socklen_t) throws(SystemError) -> Value
    ) throws(SystemError) -> Value {
        var storage = sockaddr_storage()
        switch self {
        case .unix(let path):
            let length = try check(clinux_unix_address(path, &storage), "connect", description)
            return try withAddress(&storage) { (address) throws(SystemError) in
                try body(AF_UNIX, address, socklen_t(length))
            }
        case .tcp(let host, let port):
            var family: Int32 = 0
            var index: Int32 = 0
            var last = SystemError(call: "resolve", subject: description, number: EADDRNOTAVAIL)
            while true {
                let length = clinux_resolve(host, String(port), passive ? 1 : 0, index, &storage, &family)
                if length == 0 { throw last }
                if length < -5000 {
                    throw SystemError(resolving: description, words: String(cString: clinux_resolve_error(length)))
                }
                _ = try check(length, "resolve", description)
                guard wanted.contains(family) else {
                    index += 1
                    continue
                }
                do throws(SystemError) {
                    return try withAddress(&storage) { (address) throws(SystemError) in
                        try body(family, address, socklen_t(length))
                    }
                } catch { last = error }
                index += 1
            }
        }
    }
}

/// Which kinds of address a host name may become.
public enum SocketFamily: Equatable, Sendable {
    case any
    case ipv4
    case ipv6

    fileprivate func contains(_ family: Int32) -> Bool {
        switch self {
        case .any: true
        case .ipv4: family == AF_INET
        case .ipv6: family == AF_INET6
        }
    }
}

private func withAddress<Value>(
    _ storage: inout sockaddr_storage, _ body: (UnsafePointer<sockaddr>) throws(SystemError) -> Value
) throws(SystemError) -> Value {
    try withUnsafeMutablePointer(to: &storage) { (pointer) throws(SystemError) in
        try body(UnsafeRawPointer(pointer).assumingMemoryBound(to: sockaddr.self))
    }
}
