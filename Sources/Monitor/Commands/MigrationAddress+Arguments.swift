internal import QMP
internal import Transports

extension MigrationAddress {
    /// Takes `uri` or `channels` out of the arguments of `migrate`, `migrate-incoming` and `migrate-recover`.
    ///
    /// See QEMU qapi/migration.json, MigrationChannel and MigrationAddress.
    init(taking arguments: inout Arguments) throws(QMPError) {
        guard let channels = try arguments.optionalObjects("channels") else {
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

    private init(uri: String) throws(QMPError) {
        let schemes = ["tcp:", "unix:", "fd:", "exec:", "file:", "rdma:"]
        guard schemes.contains(where: uri.hasPrefix) else {
            throw QMPError("Parameter 'uri' expects a valid migration protocol")
        }
        do { try self.init(parsing: uri) } catch { throw QMPError(error.description) }
    }

    private enum ChannelType: String { case main }
    private enum Transport: String { case socket, exec, rdma, file }
    private enum SocketType: String { case inet, unix, vsock, fd }

    private init(members: inout Arguments) throws(QMPError) {
        switch try members.word("transport", as: Transport.self) {
        case .exec: self = .exec(try members.strings("args"))
        case .rdma:
            let (host, port) = (try members.string("host"), try members.string("port"))
            self = try MigrationAddress(uri: "rdma:\(host):\(port)")
        case .file:
            let (path, offset) = (try members.string("filename"), try members.unsigned("offset"))
            guard let offset = Int64(exactly: offset) else { throw QMPError("Offset \(offset) is beyond any file") }
            self = .file(path: path, offset: offset)
        case .socket:
            switch try members.word("type", as: SocketType.self) {
            case .unix: self = .unix(path: try members.string("path"))
            case .fd: self = .descriptor(try members.string("str"))
            case .inet: self = try MigrationAddress(internet: &members)
            case .vsock: throw QMPError("Parameter 'type' does not accept value 'vsock' in this monitor")
            }
        }
    }

    private init(internet members: inout Arguments) throws(QMPError) {
        let (host, digits) = (try members.string("host"), try members.string("port"))
        guard let port = UInt16(digits) else { throw QMPError("'\(digits)' is no port (0 to 65535)") }
        let last = UInt16(try members.optionalUnsigned("to", bitCount: 16) ?? UInt64(port))
        if last < port { throw QMPError("Ports end at \(last), before they begin at \(port)") }
        let family: IPFamily
        switch (try members.optionalBool("ipv4"), try members.optionalBool("ipv6")) {
        case (false, false): throw QMPError("Neither IPv4 nor IPv6 is allowed for '\(host)'")
        case (true, true), (nil, nil): family = .any
        case (true, _), (_, false): family = .ipv4
        case (_, true), (false, _): family = .ipv6
        }
        self = .tcp(host: host, port: port, lastPort: last, family: family)
    }
}
